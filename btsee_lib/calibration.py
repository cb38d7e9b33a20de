"""When may a sample leave? Class Precision Margin, other rules, and thresholds branch after branch.

CPM sets one confidence threshold per class and branch (abstract of arXiv 2509.08318). The exact rule
is not published where we can read it; ours is: the samples that leave a branch as class c must be
right at least as often as the backbone is when it says c, less a margin.

An *exit rule* is one object: how sure a branch is of a sample, and how thresholds follow from *one* number a
branch, its *knob*, and the validation samples that reach the branch. The table of them, ``EXIT_RULES``, is in
``exit_rules``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FULL, SURVIVORS = "full", "survivors"
CALIBRATIONS = (FULL, SURVIVORS)  # on the whole validation split, or on what earlier branches passed on


def confidence_and_class(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest softmax probability and its class, both (..., N), of logits (..., N, K)."""
    confidence, predicted = logits.softmax(-1).max(-1)
    return confidence, predicted


def leaves(confidence: Tensor, predicted: Tensor, thresholds: Tensor) -> Tensor:
    """Which samples reach the threshold of their class: bool (N,), for thresholds (K,)."""
    return confidence >= thresholds[predicted]


def class_precision(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """How often a prediction of class c is right.

    Parameters
    ----------
    predicted, labels : int64 (N,).

    Returns
    -------
    Tensor
        float64 (K,), nan for a class that is never predicted.
    """
    claimed = torch.bincount(predicted, minlength=num_classes)
    right = torch.bincount(predicted[predicted == labels], minlength=num_classes)
    return right.double() / claimed.double()


@dataclass(frozen=True)
class Terms:
    """What every calibration of an experiment has in common.

    ``precision``: of the backbone a class on the whole validation split, float64 (K,). ``ceiling``: no bar is
    higher; a strict margin would ask classes that are nearly always right for more than certainty, and so keep
    the easiest images in, and 1 asks them for no mistake. ``class_margins``: K numbers, added to the margin of
    every branch for that class; a negative one suits a class that is costly to be wrongly given.
    ``min_support``: fewest samples that a threshold may rest on.
    """

    precision: Tensor
    min_support: int
    ceiling: float = 1.0
    class_margins: Sequence[float] | None = None

    def bars(self, margin: float) -> Tensor:
        """The precision that each class must reach: the backbone's, less the margin, float64 (K,).

        Parameters
        ----------
        margin : in precision points (0.02 = 2 points); a negative one is stricter.

        Raises
        ------
        ValueError
            If there are not as many ``class_margins`` as classes.
        """
        precision = self.precision.double()
        if self.class_margins is not None:
            if len(self.class_margins) != len(precision):
                raise ValueError(
                    f"boosting.class_margins has {len(self.class_margins)} numbers: give one for each of the "
                    f"{len(precision)} classes, or null"
                )
            precision = precision - torch.tensor(self.class_margins, dtype=torch.float64)
        return (precision - margin).clamp(max=self.ceiling)


class ExitRule:
    """One threshold for all classes on the confidence: the knob. Other rules say what they do otherwise.

    ``knobs`` is the range through which a comparison of rules turns the knob.
    """

    knobs: tuple[float, ...] = (
        0.9999, 0.999, 0.998, 0.995, 0.99, 0.98, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5,
    )  # fmt: skip

    def confidence(self, logits: Tensor) -> Tensor:
        """How sure a branch is, (..., N), of logits (..., N, K): larger is surer."""
        return confidence_and_class(logits)[0]

    def outputs(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """How sure a branch is, and the class that it names, both (..., N), of logits (..., N, K)."""
        return self.confidence(logits), confidence_and_class(logits)[1]

    def thresholds(
        self, confidence: Tensor, predicted: Tensor, labels: Tensor, knob: float, terms: Terms
    ) -> Tensor:
        """Fit the thresholds of one branch, (K,), of the dtype of ``confidence``; inf keeps a class in.

        Parameters
        ----------
        confidence : as of ``outputs``, (n,), of the validation samples to calibrate on.
        predicted, labels : int64 (n,).
        knob : what is asked of this branch.
        """
        return torch.full((len(terms.precision),), knob, dtype=confidence.dtype)


class ClassPrecisionMargin(ExitRule):
    """A threshold a class at which those that leave are as often right as its bar asks. Knob: the margin."""

    knobs = (
        -0.2, -0.15, -0.12, -0.1, -0.08, -0.06, -0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.04, 0.07, 0.1,
    )  # fmt: skip

    def thresholds(
        self, confidence: Tensor, predicted: Tensor, labels: Tensor, knob: float, terms: Terms
    ) -> Tensor:
        """Find the lowest confidence a class at which the samples above it still meet its bar."""
        return cpm_thresholds(confidence, predicted, labels, terms.bars(knob), terms.min_support)


CPM = ClassPrecisionMargin()


def cpm_thresholds(
    confidence: Tensor, predicted: Tensor, labels: Tensor, bars: Tensor, min_support: int
) -> Tensor:
    """Find the lowest confidence a class at which the samples above it still meet its bar.

    A sample predicted c leaves when ``confidence >= threshold[c]``. The threshold is the smallest
    observed confidence t such that the samples predicted c with confidence >= t number at least
    ``min_support`` and are right with a frequency of at least ``bars[c]``. Equal confidences stand
    or fall together.

    Parameters
    ----------
    confidence : float (N,); predicted, labels : int64 (N,).
    bars : (K,), the precision that each class must reach; nan closes a class.
    min_support : fewest samples that a threshold may rest on.

    Returns
    -------
    Tensor
        (K,), of the dtype of ``confidence``; inf for a class that never leaves here.
    """
    thresholds = torch.full((len(bars),), torch.inf, dtype=confidence.dtype)
    for c, bar in enumerate(bars.double()):
        chosen = predicted == c
        candidates, precision, support = precision_above(confidence[chosen], labels[chosen] == c)
        good = (precision >= bar) & (support >= min_support)
        if good.any():
            thresholds[c] = candidates[good].min()
    return thresholds


def precision_above(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The precision of the samples at or above each observed confidence.

    Parameters
    ----------
    confidence : float (n,); right : bool (n,).

    Returns
    -------
    tuple of Tensor
        The distinct confidences, descending; the precision (float64) and the number of samples at
        or above each.
    """
    order = confidence.argsort(descending=True, stable=True)
    ordered, right = confidence[order], right[order].double()
    support = torch.arange(1, len(ordered) + 1)
    precision = right.cumsum(0) / support
    # Of equal confidences only the last counts: there all of them have been taken in.
    last = torch.ones(len(ordered), dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return ordered[last], precision[last], support[last]


def calibrate(
    confidence: Tensor,
    predicted: Tensor,
    labels: Tensor,
    knobs: Sequence[float],
    terms: Terms,
    calibration: str = SURVIVORS,
    rule: ExitRule = CPM,
    closed: Sequence[bool] | None = None,
) -> Tensor:
    """Set the thresholds of all branches of a cascade, one branch after the other.

    Parameters
    ----------
    confidence, predicted : (B, N), what each branch says of the validation samples.
    labels : int64 (N,).
    knobs : B numbers; margins for CPM.
    calibration : "survivors" calibrates each branch on what the branches before it passed on, "full" on all.
    closed : B flags of branches that let nothing out; none by default.

    Returns
    -------
    Tensor
        Thresholds (B, K).
    """
    if calibration not in CALIBRATIONS:
        raise ValueError(f"calibration on {calibration!r}: use {' or '.join(map(repr, CALIBRATIONS))}")
    survivors = torch.ones(len(labels), dtype=torch.bool)
    rows = []
    for b, knob in enumerate(knobs):
        seen = survivors if calibration == SURVIVORS else torch.ones_like(survivors)
        row = rule.thresholds(confidence[b][seen], predicted[b][seen], labels[seen], knob, terms)
        if closed is not None and closed[b]:
            row = torch.full_like(row, torch.inf)
        rows.append(row)
        survivors = survivors & ~leaves(confidence[b], predicted[b], row)
    return torch.stack(rows)
