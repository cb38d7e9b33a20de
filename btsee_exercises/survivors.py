"""Checks of notebooks 03 and 04: who stays, who falls further, one step of boosting, a threshold, a promise."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from btsee_exercises.cases import Case, check
from btsee_lib.boosting import fitted_thresholds, who_remains, who_stays
from btsee_lib.calibration import Terms, cpm_thresholds, leaves
from btsee_lib.fitting import Survivors


def check_survivors(function: Callable, confidence: Tensor, predicted: Tensor, thresholds: Tensor) -> None:
    """Check ``(confidence, predicted, thresholds)``: who does not leave, bool (N,).

    Parameters
    ----------
    confidence : float (N,); predicted : int64 (N,); thresholds : (K,).
    """
    real = confidence, predicted, thresholds
    case = Case("for branch 1 on valid", real, ~leaves(*real), "these survive it")
    check(function, "survivors", [case], dtype=torch.bool)


def check_further_fall(
    function: Callable, branch_right: Tensor, backbone_right: Tensor, survive: Tensor
) -> None:
    """Check ``(branch_right, backbone_right, survive)``: how much further a branch falls, in points.

    Parameters
    ----------
    branch_right, backbone_right, survive : bool (N,).
    """
    further = branch_right.double() - backbone_right.double()
    wanted = 100 * float(further.mean() - further[survive].mean())
    real = branch_right, backbone_right, survive
    case = Case("for branch 2 on test", real, wanted, "that is how much further it falls")
    check(function, "further_fall", [case])


def check_boost_one_branch(
    function: Callable,
    logits: dict[int, dict[str, Tensor]],
    reached: dict[int, Survivors],
    labels: Tensor,
    margins: Sequence[float],
    terms: Terms,
) -> None:
    """Check ``(reach, fit, calibrate, leaving)``: train, calibrate, filter; who reaches the next branch.

    ``fit(mask)`` trains a branch on training images, ``calibrate(branch, mask)`` sets its thresholds on
    validation images, ``leaving(branch, thresholds, split)`` tells of all images of a split who would leave.

    Parameters
    ----------
    logits : by number, what trained branches answer, (N, K) for train and valid; nothing is trained here.
    reached : by number, who reaches a branch, bool (N,) for train and valid.
    labels : of valid, int64 (N,); margins : of each branch.
    """

    def of_branch(number: int) -> Tensor | None:
        everyone = {name: torch.ones_like(mask) for name, mask in reached[number].items()}
        calibration = (labels, margins[number - 1], terms)
        on = function(
            dict(reached[number]),
            lambda _: number,
            lambda b, mask: fitted_thresholds(logits[b], {"valid": mask}, *calibration),
            lambda b, thresholds, split: ~who_stays(logits[b], everyone, thresholds)[split],
        )
        return _both(on)

    cases = []
    for number, said in logits.items():
        remain = who_remains(said, reached[number], labels, margins[number - 1], terms)
        cases.append(Case(f"for branch {number}", (number,), _both(remain), "the library lets others go on"))

    def on_any(part: str | int) -> Tensor | None:
        return _made_up_boosting(function)[part] if isinstance(part, str) else of_branch(part)

    check(function, "boost_one_branch", cases, on_any, torch.bool)


def _both(masks: Any) -> Any:
    """Join the masks of both splits; what is no such dict stays what it is, for the sentence to show."""
    if isinstance(masks, dict) and {"train", "valid"} <= set(masks):
        return torch.cat([masks["train"], masks["valid"]])
    return repr(masks) if isinstance(masks, Tensor) else masks  # which could be the same numbers


def _made_up_boosting(function: Callable) -> dict[str, Any]:
    """Let a step of boosting run among five images a split, and note what it does to them."""
    reach = {"train": torch.tensor([1, 1, 1, 0, 1]) > 0, "valid": torch.tensor([1, 0, 1, 1, 1]) > 0}
    leave = {"train": torch.tensor([1, 0, 0, 0, 0]) > 0, "valid": torch.tensor([0, 0, 1, 0, 0]) > 0}
    notes = {"trained": torch.ones(0) > 0, "calibrated": torch.ones(0) > 0}

    def note(name: str, mask: Tensor) -> str:
        notes[name] = mask.clone()
        return name

    on = function(
        reach,
        lambda mask: note("trained", mask),
        lambda branch, mask: note("calibrated", mask),
        lambda branch, thresholds, split: leave[split].clone(),
    )
    return notes | {"handed": _both(on), "before": _both(reach)}


def check_threshold(
    function: Callable, confidence: Tensor, predicted: Tensor, labels: Tensor, bars: Tensor, min_support: int
) -> None:
    """Check ``(confidence, correct, bar, min_support)``: the search of CPM for one class.

    Parameters
    ----------
    confidence : float (N,); predicted, labels : int64 (N,), of a branch on valid; bars : float64 (K,).
    """
    found = cpm_thresholds(confidence, predicted, labels, bars, min_support).tolist()
    cases = []
    for c, (bar, wanted) in enumerate(zip(bars.tolist(), found, strict=True)):
        real = confidence[predicted == c], labels[predicted == c] == c, bar, min_support
        cases.append(Case(f"for class {c} on valid", real, wanted, "cpm_thresholds finds this one"))
    check(function, "threshold", cases)


def check_shortfall(function: Callable, predicted: Tensor, labels: Tensor, bars: Tensor) -> None:
    """Check ``(predicted, labels, bars)`` of images that left: points below the bar, on average.

    Parameters
    ----------
    predicted, labels : int64 (n,); bars : (K,), shares.
    """
    wanted = 100 * float(bars[predicted].double().mean() - (predicted == labels).double().mean())
    case = Case("on test", (predicted, labels, bars), wanted, "every image weighs the same")
    check(function, "shortfall", [case])
