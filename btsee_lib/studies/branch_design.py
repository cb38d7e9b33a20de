"""Two small studies of the branches, on the validation split: how wide, and how long to train."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor, nn

from btsee_lib.boosting import (
    CHOICE_SPLITS,
    Features,
    branch_seed,
    calibration_terms,
    everyone,
    initial_branch,
    training_targets,
    who_remains,
)
from btsee_lib.branches import branch_logits, train_branch
from btsee_lib.cost import count_macs

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters

WIDTHS = (8, 16, 48, 64)


def branch_width(
    features: Features, parameters: "BranchParameters", backbone_macs: int, seed: int, progress: Callable = iter
) -> pd.DataFrame:
    """Train each branch at several widths, on all training images.

    Returns
    -------
    DataFrame
        ``branch, channels, macs, share`` (of the backbone's MACs) and ``valid_accuracy``.
    """
    rows, targets = [], training_targets(features["train"], parameters)
    for channels in progress(WIDTHS):
        widened = parameters.model_copy(update={"channels": channels})
        for number, squeezed in enumerate(features["train"].squeezed, start=1):
            branch = initial_branch(number, features, widened, seed)
            macs = count_macs(branch, squeezed[:1].cpu().float())
            train_branch(branch, squeezed, targets, widened, branch_seed(seed, number))
            rows.append(
                {
                    "branch": number,
                    "channels": channels,
                    "macs": macs,
                    "share": macs / backbone_macs,
                    "valid_accuracy": _accuracy(
                        branch_logits(branch, features["valid"].squeezed[number - 1]), features
                    ),
                }
            )
    return pd.DataFrame(rows)


def training_effort(
    features: Features,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
) -> pd.DataFrame:
    """Train branch 2 behind each margin of branch 1: equal visits, and visits that shrink with the data.

    Returns
    -------
    DataFrame
        ``m1, survivors`` (training images), ``training`` ("independent", "boosted, equal visits",
        "boosted, equal epochs") and ``valid_accuracy``, on the validation survivors.
    """
    terms, valid = calibration_terms(features, boosting_parameters), features["valid"]

    def trained(number: int, survivors: Tensor | None = None, share: float = 1.0) -> nn.Module:
        visits = branch_parameters.model_copy(update={"epochs": branch_parameters.epochs * share})
        branch = initial_branch(number, features, branch_parameters, seed)
        targets = training_targets(features["train"], branch_parameters)
        weights = None if survivors is None else survivors.float()
        squeezed = features["train"].squeezed[number - 1]
        train_branch(branch, squeezed, targets, visits, branch_seed(seed, number), weights)
        return branch

    first, independent, rows = trained(1), trained(2), []
    logits = {name: branch_logits(first, features[name].squeezed[0]) for name in CHOICE_SPLITS}
    for margin in boosting_parameters.margins[0]:
        remains = who_remains(logits, everyone(features), valid.labels, margin, terms)
        number = int(remains["train"].sum())
        if min(number, int(remains["valid"].sum())) < boosting_parameters.min_survivors:
            continue
        tried = {
            "independent": independent,
            "boosted, equal visits": trained(2, remains["train"]),
            "boosted, equal epochs": trained(2, remains["train"], number / len(features["train"])),
        }
        for name, branch in tried.items():
            accuracy = _accuracy(branch_logits(branch, valid.squeezed[1]), features, remains["valid"])
            rows.append({"m1": margin, "survivors": number, "training": name, "valid_accuracy": accuracy})
    return pd.DataFrame(rows)


def _accuracy(logits: Tensor, features: Features, chosen: Tensor | None = None) -> float:
    right = logits.argmax(1) == features["valid"].labels
    return float((right if chosen is None else right[chosen]).double().mean())
