"""Training whole cascades by any scheme: each branch once for all configurations that share it.

Boosted training (BTS-EE, abstract of arXiv 2509.08318) goes branch after branch: train on the survivors,
calibrate on the survivors, filter both splits, go on.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from btsee_lib.calibration import CPM, ExitRule, Terms, class_precision, leaves
from btsee_lib.errors import ParameterError
from btsee_lib.features import Features
from btsee_lib.fitting import Earlier, Exit, Survivors, answers_before, branch_seed, everyone, fit_exit
from btsee_lib.schemes.scheme import Scheme
from btsee_lib.trees import TrainedBranch

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters


def configurations(parameters: "BoostingParameters") -> list[tuple[float, ...]]:
    """All combinations of the margins, one tuple (m_1, ..., m_B) each."""
    return list(itertools.product(*parameters.margins))


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


def fitted_thresholds(
    logits: dict[str, Tensor], reach: Survivors, labels: Tensor, knob: float, terms: Terms, rule: ExitRule = CPM
) -> Tensor:
    """Calibrate a branch on the validation samples that reach it: thresholds (K,).

    Parameters
    ----------
    logits : the branch's, (N, K) for each split, valid among them.
    reach : bool (N,) for each split, the samples that reach the branch.
    labels : of valid, int64 (N,).
    knob : what the rule asks of the branch; for CPM its margin.
    """
    seen = reach["valid"]
    return rule.thresholds(*rule.outputs(logits["valid"][seen]), labels[seen], knob, terms)


def who_stays(
    logits: dict[str, Tensor], reach: Survivors, thresholds: Tensor, rule: ExitRule = CPM
) -> Survivors:
    """Return the samples that reach a branch and go on to the next one, bool (N,) for each split."""
    return {name: reach[name] & ~leaves(*rule.outputs(logits[name]), thresholds) for name in reach}


def who_remains(
    logits: dict[str, Tensor], reach: Survivors, labels: Tensor, knob: float, terms: Terms, rule: ExitRule = CPM
) -> Survivors:
    """Calibrate a branch on the validation samples that reach it, and take out what leaves.

    The thresholds come from valid alone; to any other split they are only applied. Parameters are those of
    ``fitted_thresholds``, what it returns is that of ``who_stays``.
    """
    return who_stays(logits, reach, fitted_thresholds(logits, reach, labels, knob, terms, rule), rule)


def train_tree(
    scheme: Scheme,
    features: Features,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
    rule: ExitRule = CPM,
    chosen: Sequence[tuple[float, ...]] | None = None,
) -> Iterator[TrainedBranch]:
    """Train the branches of configurations by a scheme, depth first.

    If the scheme is sequential, a branch is trained behind every combination of the margins before it.

    Parameters
    ----------
    chosen : the configurations, (m_1, ..., m_B) each; by default all.

    Raises
    ------
    ParameterError
        If there are not as many lists of margins, or numbers of channels, as branches.
    """
    branches = len(features["train"].squeezed)
    check_one_a_branch("boosting.margins", boosting_parameters.margins, branches)
    check_one_a_branch("branches.channels", branch_parameters.channels, branches)
    chosen = configurations(boosting_parameters) if chosen is None else chosen
    terms, valid = calibration_terms(features, boosting_parameters), features["valid"]

    def grow(
        margins: tuple[float, ...], survivors: Survivors, earlier: list[Earlier]
    ) -> Iterator[TrainedBranch]:
        number, parameters = len(earlier) + 1, (branch_parameters, boosting_parameters)
        fit = partial(fit_exit, number, scheme, features, survivors, *parameters, seed, earlier)
        trained = _record(number, margins, fit(), survivors, features, earlier)
        yield trained
        if number == branches:
            return
        answers = trained.logits
        if scheme.folds and not trained.closed:
            answers = answers | {"train": _held_out(fit, number, scheme, features, earlier, seed)}
        for path in _continued(margins, chosen) if scheme.sequential else [margins]:
            # A closed branch lets nothing out, and one that no other depends on needs no thresholds.
            thresholds = torch.full((answers["valid"].shape[1],), torch.inf)
            if scheme.sequential and not trained.closed:
                thresholds = fitted_thresholds(answers, survivors, valid.labels, path[-1], terms, rule)
            remaining = who_stays(answers, survivors, thresholds, rule)
            behind = Earlier(answers, excess(answers["train"], thresholds, rule))
            yield from grow(path, remaining, [*earlier, behind])

    yield from grow((), everyone(features), [])


def excess(logits: Tensor, thresholds: Tensor, rule: ExitRule = CPM) -> Tensor:
    """How far samples lie above the threshold of the class that a branch names, (N,): from 0 on they leave."""
    confidence, predicted = rule.outputs(logits)
    return confidence - thresholds[predicted]


def _continued(margins: tuple[float, ...], chosen: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The margins, each with one more, with which configurations go on."""
    depth = len(margins)
    return list(dict.fromkeys(each[: depth + 1] for each in chosen if each[:depth] == margins))


def _held_out(
    fit: partial, number: int, scheme: Scheme, features: Features, earlier: Sequence[Earlier], seed: int
) -> Tensor:
    """What an exit answers of training samples that its own branch did not see, (N, K); each is left out once.

    What its head reads of earlier exits is as these were trained, on all samples.
    """
    squeezed = features["train"].squeezed[number - 1]
    before = answers_before(features, earlier)["train"]
    generator = torch.Generator().manual_seed(branch_seed(seed, number))
    part = torch.randperm(len(squeezed), generator=generator) % scheme.folds
    left_out = [part == each for each in range(scheme.folds)]
    answers = [fit(left_out=each).answers(squeezed, before) * each[:, None] for each in left_out]
    return torch.stack(answers).sum(0)


def check_one_a_branch(key: str, values: Sequence, branches: int) -> None:
    """Refuse a parameter that is a list with another number of entries than the backbone has branches."""
    if len(values) != branches:
        raise ParameterError(
            f"params.yaml: {key} has {len(values)} entries: give one for each of the {branches} branches"
        )


def _record(
    number: int,
    margins: tuple[float, ...],
    fitted: Exit | None,
    survivors: Survivors,
    features: Features,
    earlier: Sequence[Earlier],
) -> TrainedBranch:
    """Wrap a trained branch up, together with its answers on all splits."""
    answers = answers_before(features, earlier)
    if fitted is not None:
        for name, split in features.items():
            answers[name] = fitted.answers(split.squeezed[number - 1], answers[name])
    return TrainedBranch(
        branch=number,
        margins=margins,
        train_survivors=int(survivors["train"].sum()),
        valid_survivors=int(survivors["valid"].sum()),
        closed=fitted is None,
        state={} if fitted is None else fitted.state(),
        logits=answers,
    )
