"""Independent and boosted training of whole cascades, and the tree of the 64 configurations.

Independent training shows every branch the full training split. Boosted training (BTS-EE, abstract
of arXiv 2509.08318) goes branch after branch: train on the survivors, calibrate on the survivors,
filter both splits, go on. What a branch is trained on depends on the margins *before* it only, so
4 x 4 x 4 configurations need 1 + 4 + 16 trainings and not 192: they form a tree, whose node
``(m_1, ..., m_{b-1})`` is branch b as trained behind those margins.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from btsee_lib.branches import Conv1dBranch, branch_logits, train_branch
from btsee_lib.calibration import (
    class_precision,
    confidence_and_class,
    cpm_thresholds,
    leaves,
    precision_bars,
)
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.config import Branches as BranchParameters
from btsee_lib.features import SplitFeatures

Features = dict[str, SplitFeatures]
Survivors = dict[str, Tensor]
CHOICE_SPLITS = ("train", "valid")  # filtering and calibration never see the test split


@dataclass(frozen=True)
class TrainedBranch:
    """A branch after training, or a closed one that had too few survivors to be trained.

    ``margins`` are those before it (empty for independent training), ``state`` its weights (empty
    if closed), ``logits`` what it says of valid and test, float32 (N, K) each.
    """

    training: str
    branch: int
    margins: tuple[float, ...]
    train_survivors: int
    valid_survivors: int
    closed: bool
    state: dict[str, Tensor]
    logits: dict[str, Tensor]


def new_branch(number: int, features: Features, parameters: BranchParameters, seed: int) -> Conv1dBranch:
    """Return branch ``number`` (1, 2, ...) with the initial weights that belong to the seed."""
    torch.manual_seed(branch_seed(seed, number))
    num_classes = features["train"].logits.shape[1]
    squeezed = features["train"].squeezed[number - 1]
    branch = Conv1dBranch(squeezed.shape[1], num_classes, parameters.channels, parameters.kernel_size)
    branch.eval()(squeezed[:1].cpu().float())  # the classifier takes its size from the first input
    return branch


def branch_seed(seed: int, number: int) -> int:
    """Return the seed of branch ``number``: the same for both kinds of training, so they are paired."""
    return 1000 * seed + number


def training_targets(train: SplitFeatures, parameters: BranchParameters) -> Tensor:
    """What the branches learn to say, int64 (N,): the truth, or what the backbone says."""
    return train.labels if parameters.labels == "truth" else train.predicted


def backbone_precision(features: Features) -> Tensor:
    """Precision a class of the backbone on the whole validation split, float64 (K,)."""
    valid = features["valid"]
    return class_precision(valid.predicted, valid.labels, valid.logits.shape[1])


def everyone(features: Features) -> Survivors:
    """Return the survivors before any branch: all samples of train and valid."""
    return {name: torch.ones(len(features[name]), dtype=torch.bool) for name in CHOICE_SPLITS}


def fit_branch(
    number: int,
    features: Features,
    survivors: Survivors,
    parameters: BranchParameters,
    limits: BoostingParameters,
    seed: int,
) -> Conv1dBranch | None:
    """Train branch ``number`` on the survivors, or return None where they are too few."""
    if min(int(survivors[name].sum()) for name in CHOICE_SPLITS) < limits.min_survivors:
        return None
    train = features["train"]
    branch = new_branch(number, features, parameters, seed)
    train_branch(
        branch,
        train.squeezed[number - 1],
        training_targets(train, parameters),
        parameters,
        seed=branch_seed(seed, number),
        survivors=survivors["train"],
    )
    return branch


def who_remains(
    logits: dict[str, Tensor], reach: Survivors, features: Features, margin: float, limits: BoostingParameters
) -> Survivors:
    """Calibrate a branch on the validation samples that reach it, and take out what leaves.

    Parameters
    ----------
    logits : the branch's, (N, K) for every split that is in ``reach``, valid among them.
    reach : bool (N,) for each split, the samples that reach the branch.
    margin : of the branch, in precision points.

    Returns
    -------
    dict
        bool (N,) for each split in ``reach``: the samples that go on to the next branch. The
        thresholds come from valid alone; to any other split they are only applied.
    """
    labels = features["valid"].labels[reach["valid"]]
    bars = precision_bars(backbone_precision(features), [margin], limits.bar_ceiling, limits.class_margins)[0]
    confidence, predicted = confidence_and_class(logits["valid"][reach["valid"]])
    thresholds = cpm_thresholds(confidence, predicted, labels, bars, limits.min_support)
    return {name: reach[name] & ~leaves(*confidence_and_class(logits[name]), thresholds) for name in reach}


def train_independent(
    features: Features, parameters: BranchParameters, limits: BoostingParameters, seed: int
) -> Iterator[TrainedBranch]:
    """Train every branch on the full training split, one after the other."""
    for number in range(1, len(features["train"].squeezed) + 1):
        branch = fit_branch(number, features, everyone(features), parameters, limits, seed)
        yield _record("independent", number, (), branch, everyone(features), features)[0]


def train_boosted_tree(
    features: Features, parameters: BranchParameters, limits: BoostingParameters, seed: int
) -> Iterator[TrainedBranch]:
    """Train branches behind every combination of the margins before them, depth first."""

    def grow(margins: tuple[float, ...], survivors: Survivors) -> Iterator[TrainedBranch]:
        number = len(margins) + 1
        branch = fit_branch(number, features, survivors, parameters, limits, seed)
        trained, logits = _record("boosted", number, margins, branch, survivors, features)
        yield trained
        if number == len(features["train"].squeezed):
            return
        for margin in limits.margins[number - 1]:
            # A closed branch lets nothing out, so all that reached it go on.
            remaining = (
                survivors if branch is None else who_remains(logits, survivors, features, margin, limits)
            )
            yield from grow((*margins, margin), remaining)

    yield from grow((), everyone(features))


def _record(
    training: str,
    number: int,
    margins: tuple[float, ...],
    branch: Conv1dBranch | None,
    survivors: Survivors,
    features: Features,
) -> tuple[TrainedBranch, dict[str, Tensor]]:
    """Wrap a trained branch up, together with its logits for all three splits."""
    if branch is None:
        logits = {name: torch.zeros_like(split.logits) for name, split in features.items()}
    else:
        logits = {name: branch_logits(branch, split.squeezed[number - 1]) for name, split in features.items()}
    trained = TrainedBranch(
        training=training,
        branch=number,
        margins=margins,
        train_survivors=int(survivors["train"].sum()),
        valid_survivors=int(survivors["valid"].sum()),
        closed=branch is None,
        state={} if branch is None else branch.state_dict(),
        logits={name: logits[name] for name in ("valid", "test")},
    )
    return trained, logits


def configurations(limits: BoostingParameters) -> list[tuple[float, ...]]:
    """All combinations of the margins, one tuple (m_1, ..., m_B) each."""
    return list(itertools.product(*limits.margins))
