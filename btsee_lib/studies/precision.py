"""Does a lower precision change what a cascade decides? bfloat16 against float32, image by image."""

import pandas as pd
import torch
from torch import Tensor

from btsee_lib.cascade import Cascade, Exits
from btsee_lib.compute import borrowed
from btsee_lib.cost import CostModel
from btsee_lib.data.splits import ImageSet, Splits

PRECISIONS = ("32-true", "bf16-mixed")


def compare_precisions(cascade: Cascade, splits: Splits, split: ImageSet, cost: CostModel) -> pd.DataFrame:
    """Run a cascade, which really stops, in both precisions over the same images.

    Parameters
    ----------
    cascade : with thresholds that were set in float32, on valid.
    split : the images to classify; the test split, where this is reported.
    cost : MACs of the cascade's exits.

    Returns
    -------
    DataFrame
        A row a precision: ``precision, images, accuracy`` (share), ``mean_macs, other_exit,
        other_label`` (shares of the images that are decided otherwise than in float32),
        ``accuracy_change`` (points) and ``macs_change`` (share), both against float32.
    """
    found = [run_cascade(cascade, splits, split.images, name) for name in PRECISIONS]
    macs = cost.by_exit(cascade.thresholds.cpu()).double()
    table = pd.DataFrame({"precision": PRECISIONS, "images": len(split)})
    table["accuracy"] = [_share(exits.label == split.labels) for exits in found]
    table["mean_macs"] = [float(macs[exits.exit].mean()) for exits in found]
    table["other_exit"] = [_share(exits.exit != found[0].exit) for exits in found]
    table["other_label"] = [_share(exits.label != found[0].label) for exits in found]
    table["accuracy_change"] = 100 * (table["accuracy"] - table["accuracy"][0])
    table["macs_change"] = table["mean_macs"] / table["mean_macs"][0] - 1
    return table


def run_cascade(
    cascade: Cascade, splits: Splits, images: Tensor, precision: str, batch_size: int = 500
) -> Exits:
    """Classify raw images uint8 (N, C, H, W) in one of ``PRECISIONS``; the results lie on the CPU."""
    parts = []
    with borrowed(cascade) as device:
        for batch in images.split(batch_size):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
                exits = cascade.predict(splits.normalise(batch.to(device)))
            parts.append([values.cpu() for values in exits])
    return Exits(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())
