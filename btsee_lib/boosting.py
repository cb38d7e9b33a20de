"""Training whole cascades by any scheme: each branch once for all configurations that share it.

Boosted training (BTS-EE, abstract of arXiv 2509.08318) goes branch after branch: train on the survivors,
calibrate on the survivors, filter both splits, go on.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from btsee_lib.branches import branch_logits, new_branch, train_branch
from btsee_lib.calibration import CPM, ExitRule, Terms, class_precision, leaves
from btsee_lib.errors import ParameterError
from btsee_lib.features import SplitFeatures
from btsee_lib.trees import TrainedBranch

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters
    from btsee_lib.schemes import Scheme

Features = dict[str, SplitFeatures]
Survivors = dict[str, Tensor]
CHOICE_SPLITS = ("train", "valid")  # filtering and calibration never see the test split


def configurations(parameters: "BoostingParameters") -> list[tuple[float, ...]]:
    """All combinations of the margins, one tuple (m_1, ..., m_B) each."""
    return list(itertools.product(*parameters.margins))


def branch_seed(seed: int, number: int) -> int:
    """Return the seed of branch ``number``: the same for all schemes, so they are paired."""
    return 1000 * seed + number


def initial_branch(number: int, features: Features, parameters: "BranchParameters", seed: int) -> nn.Module:
    """Return branch ``number`` (1, 2, ...) with the initial weights that belong to the seed."""
    train = features["train"]
    torch.manual_seed(branch_seed(seed, number))
    shape, classes = train.squeezed[number - 1].shape[1:], train.logits.shape[1]
    return new_branch(shape, classes, parameters.channels[number - 1], parameters.kernel_size)


def training_targets(train: SplitFeatures, parameters: "BranchParameters") -> Tensor:
    """What the branches learn to say, int64 (N,): the truth, or what the backbone says."""
    return train.labels if parameters.labels == "truth" else train.predicted


def backbone_precision(features: Features) -> Tensor:
    """Precision a class of the backbone on the whole validation split, float64 (K,)."""
    valid = features["valid"]
    return class_precision(valid.predicted, valid.labels, valid.logits.shape[1])


def calibration_terms(features: Features, parameters: "BoostingParameters") -> Terms:
    """What the parameters and the backbone ask of every calibration."""
    return Terms(
        precision=backbone_precision(features),
        min_support=parameters.min_support,
        ceiling=parameters.bar_ceiling,
        class_margins=parameters.class_margins,
    )


def everyone(features: Features) -> Survivors:
    """Return the survivors before any branch: all samples of train and valid."""
    return {name: torch.ones(len(features[name]), dtype=torch.bool) for name in CHOICE_SPLITS}


def who_remains(
    logits: dict[str, Tensor],
    reach: Survivors,
    labels: Tensor,
    knob: float,
    terms: Terms,
    rule: ExitRule = CPM,
) -> Survivors:
    """Calibrate a branch on the validation samples that reach it, and take out what leaves.

    Parameters
    ----------
    logits : the branch's, (N, K) for every split that is in ``reach``, valid among them.
    reach : bool (N,) for each split, the samples that reach the branch.
    labels : of valid, int64 (N,).
    knob : what the rule asks of the branch; for CPM its margin.

    Returns
    -------
    dict
        bool (N,) for each split in ``reach``: the samples that go on to the next branch. The
        thresholds come from valid alone; to any other split they are only applied.
    """
    seen = reach["valid"]
    thresholds = rule.thresholds(*rule.outputs(logits["valid"][seen]), labels[seen], knob, terms)
    return {name: reach[name] & ~leaves(*rule.outputs(logits[name]), thresholds) for name in reach}


def fit_branch(
    number: int,
    scheme: "Scheme",
    features: Features,
    survivors: Survivors,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
) -> nn.Module | None:
    """Train branch ``number`` by a scheme, or return None where the survivors are too few."""
    if min(int(survivors[name].sum()) for name in CHOICE_SPLITS) < boosting_parameters.min_survivors:
        return None
    train = features["train"]
    branch = initial_branch(number, features, branch_parameters, seed)
    train_branch(
        branch,
        train.squeezed[number - 1],
        training_targets(train, branch_parameters),
        branch_parameters,
        seed=branch_seed(seed, number),
        weights=scheme.weights(survivors["train"]),
        losses=scheme.losses,
    )
    return branch


def train_tree(
    scheme: "Scheme",
    features: Features,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
    rule: ExitRule = CPM,
) -> Iterator[TrainedBranch]:
    """Train the branches of all configurations by a scheme, depth first.

    If the scheme is sequential, a branch is trained behind every combination of the margins before it.

    Raises
    ------
    ParameterError
        If there are not as many lists of margins, or numbers of channels, as branches.
    """
    branches = len(features["train"].squeezed)
    check_one_a_branch("boosting.margins", boosting_parameters.margins, branches)
    check_one_a_branch("branches.channels", branch_parameters.channels, branches)
    terms, valid = calibration_terms(features, boosting_parameters), features["valid"]

    def grow(number: int, margins: tuple[float, ...], survivors: Survivors) -> Iterator[TrainedBranch]:
        branch = fit_branch(number, scheme, features, survivors, branch_parameters, boosting_parameters, seed)
        trained = _record(number, margins, branch, survivors, features)
        yield trained
        if number == branches:
            return
        if not scheme.sequential:
            yield from grow(number + 1, margins, survivors)
            return
        for margin in boosting_parameters.margins[number - 1]:
            # A closed branch lets nothing out, so all that reached it go on.
            remaining = (
                survivors
                if branch is None
                else who_remains(trained.logits, survivors, valid.labels, margin, terms, rule)
            )
            yield from grow(number + 1, (*margins, margin), remaining)

    yield from grow(1, (), everyone(features))


def check_one_a_branch(key: str, values: Sequence, branches: int) -> None:
    """Refuse a parameter that is a list with another number of entries than the backbone has branches."""
    if len(values) != branches:
        raise ParameterError(
            f"params.yaml: {key} has {len(values)} entries: give one for each of the {branches} branches"
        )


def _record(
    number: int,
    margins: tuple[float, ...],
    branch: nn.Module | None,
    survivors: Survivors,
    features: Features,
) -> TrainedBranch:
    """Wrap a trained branch up, together with its outputs on all splits."""
    if branch is None:
        logits = {name: torch.zeros_like(split.logits) for name, split in features.items()}
    else:
        logits = {name: branch_logits(branch, split.squeezed[number - 1]) for name, split in features.items()}
    return TrainedBranch(
        branch=number,
        margins=margins,
        train_survivors=int(survivors["train"].sum()),
        valid_survivors=int(survivors["valid"].sum()),
        closed=branch is None,
        state={} if branch is None else branch.state_dict(),
        logits=logits,
    )
