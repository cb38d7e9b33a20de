"""Checks of notebooks 05, 06, 08 and 10: cascades, a choice, an interval, rounding, times, parts, bits."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_exercises.cases import Case, check
from btsee_lib.cascade import Cascade, simulate
from btsee_lib.cost import CostModel
from btsee_lib.deployment.build import NEAR, near_threshold
from btsee_lib.deployment.time_costs import break_even
from btsee_lib.evaluation import recommend
from btsee_lib.training import share_of_batch
from btsee_lib.uncertainty import interval


def check_cascade(
    function: Callable, confidence: Tensor, predicted: Tensor, backbone_predicted: Tensor, thresholds: Tensor
) -> None:
    """Check ``(confidence, predicted, backbone_predicted, thresholds)``: labels and exits, (N,) each.

    Parameters
    ----------
    confidence, predicted : (B, N); backbone_predicted : int64 (N,); thresholds : (B, K).
    """
    real = confidence, predicted, backbone_predicted, thresholds
    case = Case("on test", real, simulate(*real)[:2], "simulate decides so")
    check(function, "cascade", [case], dtype=torch.int64)


def check_cheapest(function: Callable, table: pd.DataFrame, max_drops: Sequence[float]) -> None:
    """Check ``(table, drop)``: the label of the row that saves most within a drop on valid, None without one.

    Parameters
    ----------
    table : configurations of one cell with ``drop, reduction, valid_drop, valid_reduction``, drops in points.
    """

    best = {row.max_drop: row.position for row in recommend(table, max_drops).itertuples()}
    cases = [
        Case(f"for {drop} points", (table, drop), best.get(drop), "this one saves most on valid")
        for drop in max_drops
    ]
    check(function, "cheapest", cases)


def check_paired_interval(function: Callable, first: np.ndarray, second: np.ndarray) -> None:
    """Check ``(first, second, draws)``: both ends of a 95 % interval of the difference, in points.

    Parameters
    ----------
    first, second : bool (N,), whether two cascades are right, image by image.
    """
    draws = np.random.default_rng(0).integers(len(first), size=(200, len(first)))
    right = first.astype(int), second.astype(int)
    wanted = interval(100 * (right[0] - right[1])[draws].mean(1), 0.95)
    real = tuple(torch.from_numpy(each) for each in (*right, draws))
    check(function, "paired_interval", [Case("on test", real, wanted, "resample both by the same draws")])


def check_leave_early(function: Callable, cascade: Cascade, images: Tensor) -> None:
    """Check ``(image, stages, branches, thresholds)``: label and exit of one image, really stopping.

    Parameters
    ----------
    images : float (N, C, H, W), normalised, of each exit some; each is set against ``cascade.predict``.
    """
    branches = [lambda x, each=each: each(each.squeeze(x)) for each in cascade.branches]

    def on_any(*arguments: Tensor) -> tuple | None:
        if len(arguments) > 1:
            return _made_up_stopping(function, *arguments)
        with torch.inference_mode():
            return function(arguments[0], list(cascade.backbone.stages), branches, cascade.thresholds)

    found = cascade.predict(images)
    cases = [
        Case(f"for images[{n}]", (images[n : n + 1],), each, "the cascade answers so")
        for n, each in enumerate(zip(found.label, found.exit, strict=True))
    ]
    check(function, "leave_early", cases, on_any)


def _made_up_stopping(function: Callable, *arguments: Tensor) -> tuple | None:
    """Run two branches and three stages, each adding 1 but the last; add what the stages were given."""
    *branch_logits, last, thresholds = arguments
    given = []

    def stage(number: int) -> Callable:
        return lambda x: given.append(x.item()) or (last if number == len(branch_logits) else x + 1)

    stages = [stage(number) for number in range(len(branch_logits) + 1)]
    branches = [lambda _, logits=logits: logits for logits in branch_logits]
    found = function(torch.zeros(1, 1), stages, branches, thresholds)
    return (*found, *given) if isinstance(found, tuple | list | Tensor) else found


def check_break_even(function: Callable, cost: CostModel) -> None:
    """Check ``(stages, branches)``: for each branch the share of those that reach it from which it pays."""
    real = torch.tensor(cost.stages), torch.tensor(cost.branches)
    check(function, "break_even", [Case("for this cascade", real, break_even(cost), "shares, not percent")])


def check_unexplained(function: Callable, exits: Tensor, others: Tensor, gaps: Tensor) -> None:
    """Check ``(exits, others, gaps, tolerance)``: how many images leave elsewhere, and not by rounding.

    Parameters
    ----------
    exits, others : int64 (N,), of the same images in two ways; gaps : float (B, N), confidence less threshold.
    """
    wanted = int(((exits != others) & ~near_threshold(exits, others, gaps)).sum())
    case = Case("on test", (exits, others, gaps, NEAR), wanted, "so many leave elsewhere at a clear branch")
    check(function, "unexplained", [case])


def check_tail(function: Callable, images: Sequence[int], times: Sequence[float]) -> None:
    """Check ``(images, times, share)``: the time within which a share of all images is answered.

    Parameters
    ----------
    images : that leave at each exit, as many as ``times``.
    """
    wanted = np.quantile(np.repeat(times, images), 0.99, method="inverted_cdf")
    real = torch.tensor(images), torch.tensor(list(times)), 0.99
    check(function, "tail", [Case("for this cascade", real, wanted, "within this 99 in 100 are answered")])


def check_weights(function: Callable, batch_size: int, processes: int) -> None:
    """Check ``(images, processes)``: what each process must weigh the mean loss of its part by."""
    wanted = [share_of_batch(batch_size, rank, processes).weight for rank in range(processes)]
    case = Case("for the batch above", (batch_size, processes), wanted, "so it was above")
    check(function, "weights", [case])


def check_changes_sides(function: Callable, confidence: Tensor, thresholds: Tensor) -> None:
    """Check ``(confidence, thresholds)``: who decides otherwise if the confidence is rounded to bfloat16.

    Parameters
    ----------
    confidence, thresholds : float32 (N,), the threshold that of the class that an image is taken for.
    """
    wanted = (confidence.bfloat16().float() >= thresholds) != (confidence >= thresholds)
    case = Case("on test", (confidence, thresholds), wanted, "these change sides")
    check(function, "changes_sides", [case], dtype=torch.bool)
