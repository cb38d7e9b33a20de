"""What ``params.yaml`` may not ask for, legal as each value is: told, with the reason, before any work."""

import math

from btsee_lib.config import check_params, checked_section, read_yaml
from btsee_lib.errors import ParameterError
from btsee_lib.experiment import current_experiment

LONG, LARGE, STEEP = "more take weeks", "a batch must fit into memory", "with longer steps no network learns"
MOST = {
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
CONFIGURATIONS = 4_096
# Of data sets that are the same everywhere; how many classes one's own pictures have, only reading them tells.
CLASSES = {"fashion-mnist": 10, "cinic-10": 10, "cifar-10": 10, "cifar-100": 100}


def check() -> None:
    """Check the parameters of this experiment, and that what they ask for can be done.

    Raises
    ------
    ParameterError
        If a value cannot be used or is hopeless. The message names key, value and reason.
    """
    check_params()
    path = current_experiment().parameters
    here = read_yaml(path)
    read = {name: checked_section(name, here, path.name) for name in here}
    for key, (most, reason) in MOST.items():
        section, name = key.split(".")
        if section in read:
            _check_most(key, getattr(read[section], name), most, reason)
    boosting, data = read["boosting"], read["data"]
    if read["backbone"].momentum == 0:
        raise ParameterError(
            "params.yaml: backbone.momentum is 0: take more, since Nesterov's method needs some"
        )
    lists, channels = len(boosting.margins), len(read["branches"].channels)
    if lists != channels:
        raise ParameterError(
            f"params.yaml: boosting.margins has {lists} lists and branches.channels {channels} numbers: "
            "give one of each for every branch"
        )
    number = math.prod(map(len, boosting.margins))
    _check_most("the number of combinations of boosting.margins", number, CONFIGURATIONS, LONG)
    classes = CLASSES.get(data.name) if data.path is None else None
    if classes and boosting.class_margins and len(boosting.class_margins) != classes:
        raise ParameterError(
            f"params.yaml: boosting.class_margins has {len(boosting.class_margins)} entries: "
            f"give one for each of the {classes} classes, or null"
        )


def _check_most(key: str, value: float | list[int], most: float, reason: str) -> None:
    largest = max(value) if isinstance(value, list) else value
    if largest > most:
        raise ParameterError(f"params.yaml: {key} is {largest:,}: take at most {most:,}, since {reason}")
