"""Two small studies of the branches, on the validation split: how wide, and how long to train."""

from collections.abc import Callable, Sequence

import pandas as pd
from torch import Tensor

from btsee_lib.boosting import (
    Features,
    branch_seed,
    everyone,
    new_branch,
    training_targets,
    who_remains,
)
from btsee_lib.branches import branch_logits, train_branch
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.config import Branches as BranchParameters
from btsee_lib.cost import count_macs

WIDTHS = (8, 16, 48, 64)


def branch_width(
    features: Features, parameters: BranchParameters, backbone_macs: int, seed: int, progress: Callable = iter
) -> pd.DataFrame:
    """Train each branch at several widths, on all training images.

    Returns
    -------
    DataFrame
        ``branch, channels, macs, share`` (of the backbone's MACs) and ``valid_accuracy``.
    """
    rows, targets = [], training_targets(features["train"], parameters)
    for channels in progress(WIDTHS):
        wanted = parameters.model_copy(update={"channels": channels})
        for number, squeezed in enumerate(features["train"].squeezed, start=1):
            branch = new_branch(number, features, wanted, seed)
            macs = count_macs(branch, squeezed[:1].cpu().float())
            train_branch(branch, squeezed, targets, wanted, branch_seed(seed, number))
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
    parameters: BranchParameters,
    limits: BoostingParameters,
    logits: dict[str, Tensor],
    seed: int,
    margins: Sequence[float],
) -> pd.DataFrame:
    """Train branch 2 behind each margin of branch 1: equal visits, and visits that shrink with the data.

    Parameters
    ----------
    logits : those of the trained branch 1, (N, K) for train and valid.

    Returns
    -------
    DataFrame
        ``m1, survivors`` (training images), ``training`` ("independent", "boosted, equal visits",
        "boosted, equal epochs") and ``valid_accuracy``, on the validation survivors.
    """
    train = features["train"]
    rows = []
    independent = new_branch(2, features, parameters, seed)
    targets = training_targets(train, parameters)
    train_branch(independent, train.squeezed[1], targets, parameters, branch_seed(seed, 2))
    for margin in margins:
        remains = who_remains(logits, everyone(features), features, margin, limits)
        number = int(remains["train"].sum())
        if min(number, int(remains["valid"].sum())) < limits.min_survivors:
            continue
        tried = {"independent": independent}
        for name, share in {"boosted, equal visits": 1.0, "boosted, equal epochs": number / len(train)}.items():
            visits = parameters.model_copy(update={"epochs": parameters.epochs * share})
            tried[name] = new_branch(2, features, parameters, seed)
            train_branch(
                tried[name], train.squeezed[1], targets, visits, branch_seed(seed, 2), remains["train"]
            )
        for name, branch in tried.items():
            said = branch_logits(branch, features["valid"].squeezed[1])
            rows.append(
                {
                    "m1": margin,
                    "survivors": number,
                    "training": name,
                    "valid_accuracy": _accuracy(said, features, remains["valid"]),
                }
            )
    return pd.DataFrame(rows)


def _accuracy(logits: Tensor, features: Features, chosen: Tensor | None = None) -> float:
    right = logits.argmax(1) == features["valid"].labels
    return float((right if chosen is None else right[chosen]).double().mean())
