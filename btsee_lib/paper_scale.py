"""What a large run would take on a machine like the one that was measured.

The rates are those of ``scaling.measure_scaling``. The time of an image is taken to grow with its MACs,
that of a branch with the length of its strips and with its epochs.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from btsee_lib.backbone import StagedResNet18
from btsee_lib.config import Backbone, Boosting, Branches
from btsee_lib.cost import count_macs
from btsee_lib.features import strip_pool
from btsee_lib.studies.scaling import TRAIN_SHARE


class Plan(NamedTuple):
    """A large run: the size of its data set, its sections of ``params.yaml``, and the rival's width."""

    train_images: int
    all_images: int
    image_shape: tuple[int, ...]
    num_classes: int
    backbone: Backbone
    branches: Branches
    boosting: Boosting
    static_width: int


def predict_hours(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Predict the hours of each step of a large run.

    Parameters
    ----------
    table : of ``scaling.measure_scaling``.

    Returns
    -------
    DataFrame
        ``step, work, hours``.

    Raises
    ------
    ValueError
        If the width of the plan was not measured.
    """
    channels, side, branch_epochs = _setting(table)

    def seconds(task: str, images: float, width: int) -> float:
        dearer = _macs(plan, plan.image_shape, width) / _macs(plan, (channels, side, side), width)
        return images * dearer * _seconds_an_image(table, task, width)

    wide, epochs, seeds = plan.backbone.width, plan.backbone.epochs, len(plan.boosting.seeds)
    images = plan.train_images / TRAIN_SHARE  # of all splits, since that is what the table counts
    one_seed = images * _seconds_an_image(table, "all configurations", wide)
    longer = plan.image_shape[1] / side * plan.branches.epochs / branch_epochs
    visits = f"{epochs} epochs of {plan.train_images:,} images"
    rows = [
        (f"backbone, width {wide}", visits, epochs * seconds("one epoch", images, wide)),
        ("feature pass", f"{plan.all_images:,} images", seconds("feature pass", plan.all_images, wide)),
        ("branches and all configurations", f"{seeds} seeds", seeds * longer * one_seed),
        (f"rival, width {plan.static_width}", visits, epochs * seconds("one epoch", images, plan.static_width)),
    ]
    hours = pd.DataFrame(rows, columns=["step", "work", "hours"])
    return hours.assign(hours=hours["hours"] / 3600)


def disk_gigabytes(plan: Plan, archive_bytes: int, dtype: str) -> pd.DataFrame:
    """Size of everything that a large run keeps on the disk.

    Parameters
    ----------
    archive_bytes : size of the archive of the images.
    dtype : of the stored strips, ``features.dtype``; logits are float32.

    Returns
    -------
    DataFrame
        ``what, gigabytes`` (10**9 bytes).
    """
    float32, margins = 4, [len(each) for each in plan.boosting.margins]
    branches = len(margins) + sum(math.prod(margins[:before]) for before in range(len(margins)))
    judged = plan.all_images - plan.train_images  # branches keep their logits of valid and test
    strips = _numbers_in_strips(plan) * np.dtype(dtype).itemsize
    sizes = {
        "archive": archive_bytes,
        "images as arrays": plan.all_images * math.prod(plan.image_shape),
        "features": plan.all_images * (strips + plan.num_classes * float32),
        "logits of all branches": len(plan.boosting.seeds) * branches * judged * plan.num_classes * float32,
    }
    rows = [(what, size / 1e9) for what, size in sizes.items()]
    return pd.DataFrame(rows, columns=["what", "gigabytes"])


def _numbers_in_strips(plan: Plan) -> int:
    """How many numbers the strips of one image hold."""
    feature_map, numbers = torch.zeros(1, *plan.image_shape), 0
    with torch.no_grad():
        for stage in _network(plan, plan.image_shape[0], plan.backbone.width).stages[:-1]:
            feature_map = stage(feature_map)
            numbers += strip_pool(feature_map).numel()
    return numbers


def _setting(table: pd.DataFrame) -> tuple[int, int, int]:
    """Channels and side of the images, and epochs of the branches, that were measured."""
    return tuple(int(table[name].iloc[0]) for name in ("channels", "side", "branch_epochs"))


def _macs(plan: Plan, image_shape: tuple[int, ...], width: int) -> int:
    return count_macs(_network(plan, image_shape[0], width), torch.zeros(1, *image_shape))


def _network(plan: Plan, in_channels: int, width: int) -> StagedResNet18:
    return StagedResNet18(plan.num_classes, in_channels, width, plan.backbone.stem).eval()


def _seconds_an_image(table: pd.DataFrame, task: str, width: int) -> float:
    """Seconds an image of a task, on the most images that were measured at this width."""
    rows = table[(table["task"] == task) & (table["width"] == width)]
    if rows.empty:
        raise ValueError(f"width {width} was not measured: add it to scale.widths and run 'make scale'")
    row = rows.loc[rows["images"].idxmax()]
    return row["seconds"] / row["images"]
