"""What ``params.yaml`` may not ask for, legal as each value is: told, with the reason, before any work."""

import math
import os
from pkgutil import resolve_name

from btsee_lib.config import BackboneParameters, DataParameters, check_params, checked_section, read_yaml
from btsee_lib.errors import ParameterError
from btsee_lib.experiment import current_experiment, input_path

LONG, LARGE, STEEP = "more take weeks", "a batch must fit into memory", "with longer steps no network learns"
MOST = {
    "compute.processes": (64, "each holds the libraries and a network of its own in memory"),
    "backbone.epochs": (1_000, LONG),
    "backbone.reduced_size": (1_024, "no image is larger"),
    "backbone.batch_size": (16_384, LARGE),
    "backbone.learning_rate": (2, STEEP),
    "features.batch_size": (65_536, LARGE),
    "branches.channels": (4_096, "a branch must cost less than it saves"),
    "branches.epochs": (1_000, LONG),
    "branches.batch_size": (65_536, LARGE),
    "branches.learning_rate": (2, STEEP),
    "evaluation.resamples": (100_000, "more take days and tell nothing more"),
    "deployment.latency_images": (100_000, "each is timed in every engine and round"),
    "deployment.batch_sizes": (4_096, LARGE),
    "deployment.rounds": (1_000, "each takes all times again"),
}
LONGEST = {
    "boosting.seeds": (100, LONG),
    "evaluation.max_drops": (20, "each has rows in tables and points in figures"),
    "deployment.max_drops": (20, "the model of each is timed"),
    "deployment.batch_sizes": (20, "each is timed in every engine and round"),
}
CONFIGURATIONS = 4_096
BRANCHES = {"resnet18": 3}  # of each backbone that is known without the tables
# Of data sets that are the same everywhere, classes, pixels a side and images of the smaller one of train and
# valid; of one's own, only reading them tells.
PUBLISHED = {
    "fashion-mnist": (10, 28, 10_000),
    "cinic-10": (10, 32, 90_000),
    "cifar-10": (10, 32, 10_000),
    "cifar-100": (100, 32, 10_000),
}
# Which data sets take a key, and names known without the tables, which have torch behind them.
TAKEN_BY = {"path": ("cinic-10", "cifar-10", "cifar-100", "folder"), "image_size": ("cinic-10", "folder")}
NAMES = {
    "data": ((*PUBLISHED, "folder"), "btsee_lib.data.sets:DATA_SETS"),
    "backbone": (tuple(BRANCHES), "btsee_lib.backbone:BACKBONES"),
}


def check() -> None:
    """Check the parameters of this experiment, and that what they ask for can be done.

    Raises
    ------
    ParameterError
        If a value cannot be used or is hopeless. The message names key, value and reason.
    """
    path = current_experiment().parameters
    here = read_yaml(path)
    if "deployment" in here and checked_section("backbone", here, path.name).width == 8:
        raise _refused("backbone.width is 8: take more, since deployment.static_width is less and at least 8")
    check_params()
    read = {name: checked_section(name, here, path.name) for name in here}
    for limits, prefix, measure in ((MOST, "", lambda value: value), (LONGEST, "the length of ", len)):
        for key, (most, reason) in limits.items():
            section, name = key.split(".")
            if section in read:
                _check_most(f"{prefix}{key}", measure(getattr(read[section], name)), most, reason)
    boosting, data, backbone = read["boosting"], read["data"], read["backbone"]
    _check_names(data, backbone)
    classes, side, images = (None if data.path else PUBLISHED.get(data.name)) or (None, None, None)
    if fewest := min(filter(None, (images, data.limit)), default=None):
        _check_most("boosting.min_survivors", boosting.min_survivors, fewest, "train or valid has so many")
    if backbone.reduced_epochs and (side := data.image_size or side):
        _check_most("backbone.reduced_size", backbone.reduced_size, side, "images have so many pixels a side")
    if backbone.momentum == 0:
        raise _refused("backbone.momentum is 0: take more, since Nesterov's method needs some")
    if backbone.batch_size < (fewest := 2 * read["compute"].processes):
        raise _refused(f"backbone.batch_size is {backbone.batch_size}: take {fewest} or more, two a process")
    lists, channels = len(boosting.margins), len(read["branches"].channels)
    branches = BRANCHES.get(backbone.name, channels)
    if not lists == channels == branches:
        told = f"boosting.margins has {lists} lists and branches.channels {channels} numbers"
        raise _refused(f"{told}: give {branches} of each, one for every branch")
    number = math.prod(map(len, boosting.margins))
    _check_most("the number of combinations of boosting.margins", number, CONFIGURATIONS, LONG)
    if classes and boosting.class_margins and len(boosting.class_margins) != classes:
        told = f"boosting.class_margins has {len(boosting.class_margins)} entries"
        raise _refused(f"{told}: give one for each of the {classes} classes, or null")


def _check_names(data: DataParameters, backbone: BackboneParameters) -> None:
    """Check that data set and backbone are known, and that the data set takes ``data.path`` as it stands."""
    if (current_experiment().root / "btsee_lib").is_dir():  # others, as industrial/, add names as they run
        for section, given in (("data", data.name), ("backbone", backbone.name)):
            names, table = NAMES[section]
            if given not in names and given not in (known := resolve_name(table)):
                raise _refused(f"{section}.name is '{given}': use one of {', '.join(known)}")
    for key, sets in TAKEN_BY.items():
        if getattr(data, key) is not None and data.name in NAMES["data"][0] and data.name not in sets:
            raise _refused(f"data.{key} has no meaning for the data set '{data.name}': set it to null")
    path = input_path(data.name, data.path)
    if path is None and data.name == "folder":
        raise _refused("data.path is null: name the folder or archive of your pictures")
    if path is not None and not os.path.exists(path):  # noqa: PTH110 - Path's fails on too long a name
        raise _refused(f"data.path is '{data.path}', and {path} is not there: correct it")


def _check_most(key: str, value: float | list[int], most: float, reason: str) -> None:
    largest = max(value) if isinstance(value, list) else value
    if largest > most:
        raise _refused(f"{key} is {largest:,}: take at most {most:,}, since {reason}")


def _refused(why: str) -> ParameterError:
    return ParameterError(f"params.yaml: {why}")
