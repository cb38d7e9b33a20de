"""When may a sample leave? Class Precision Margin, and two simpler rules to compare it with.

CPM sets one confidence threshold per class and branch (abstract of arXiv 2509.08318). The exact rule
is not published where we can read it; ours is: the samples that leave a branch as class c must be
right at least as often as the backbone is when it says c, less a margin.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def confidence_and_class(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest softmax probability and its class, both (..., N), of logits (..., N, K)."""
    confidence, predicted = logits.softmax(-1).max(-1)
    return confidence, predicted


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
    said = torch.bincount(predicted, minlength=num_classes)
    right = torch.bincount(predicted[predicted == labels], minlength=num_classes)
    return right.double() / said.double()


def precision_bars(
    precision: Tensor,
    margins: Sequence[float],
    ceiling: float = 1.0,
    class_margins: Sequence[float] | None = None,
) -> Tensor:
    """The precision that each class must reach at each branch: the backbone's, less the margin.

    Parameters
    ----------
    precision : float64 (K,), of the backbone on the whole validation split.
    margins : B numbers, in precision points (0.02 = 2 points); a negative one is stricter.
    ceiling : no bar is higher. A strict margin would ask classes that are nearly always right for
        more than certainty, and so keep the easiest images in; 1 asks them for no mistake.
    class_margins : K numbers, added to the margin of every branch for that class; none by default.
        A negative one suits a class that is costly to be wrongly given.

    Returns
    -------
    Tensor
        float64 (B, K).

    Raises
    ------
    ValueError
        If there are not as many ``class_margins`` as classes.
    """
    asked = precision.double()
    if class_margins is not None:
        if len(class_margins) != len(precision):
            raise ValueError(
                f"boosting.class_margins has {len(class_margins)} numbers: give one for each of the "
                f"{len(precision)} classes, or null"
            )
        asked = asked - torch.tensor(class_margins, dtype=torch.float64)
    return torch.stack([(asked - margin).clamp(max=ceiling) for margin in margins])


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
    confidence: Tensor, predicted: Tensor, labels: Tensor, bars: Tensor, min_support: int, on: str
) -> Tensor:
    """Set the thresholds of all branches of a cascade, one branch after the other.

    Parameters
    ----------
    confidence, predicted : (B, N), what each branch says of the validation samples.
    labels : int64 (N,).
    bars : (B, K), see ``precision_bars``.
    on : "survivors" calibrates each branch on what the branches before it passed on, "full" on all.

    Returns
    -------
    Tensor
        Thresholds (B, K).
    """
    if on not in ("full", "survivors"):
        raise ValueError(f"calibration on {on!r}: use 'full' or 'survivors'")
    survivors = torch.ones(len(labels), dtype=torch.bool)
    thresholds = []
    for b in range(len(bars)):
        seen = survivors if on == "survivors" else torch.ones_like(survivors)
        thresholds.append(
            cpm_thresholds(confidence[b][seen], predicted[b][seen], labels[seen], bars[b], min_support)
        )
        survivors = survivors & ~leaves(confidence[b], predicted[b], thresholds[b])
    return torch.stack(thresholds)


def leaves(confidence: Tensor, predicted: Tensor, thresholds: Tensor) -> Tensor:
    """Which samples reach the threshold of their class: bool (N,), for thresholds (K,)."""
    return confidence >= thresholds[predicted]


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the softmax of logits (..., K): the rule of BranchyNet (arXiv 1709.01686)."""
    log_probability = logits.log_softmax(-1)
    return -(log_probability.exp() * log_probability).sum(-1)
