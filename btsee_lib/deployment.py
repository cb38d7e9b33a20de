"""From a recommended configuration to a cascade that is taken away, and what one wants to know of it."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.backbone import StagedResNet18
from btsee_lib.boosting import Features, configurations, new_branch
from btsee_lib.calibration import confidence_and_class
from btsee_lib.cascade import Cascade, Exits
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.config import Branches as BranchParameters
from btsee_lib.cost import CostModel
from btsee_lib.decisions import run_simulation
from btsee_lib.evaluation import BTS_EE, calibrated, of_cell, recommend
from btsee_lib.uncertainty import ratio_interval

NEAR = 1e-4  # of its threshold: there, rounding may decide


def recommended_margins(
    table: pd.DataFrame, drops: Iterable[float], limits: BoostingParameters
) -> dict[float, tuple[float, ...]]:
    """Pick the margins of BTS-EE that are recommended for each allowed drop (points), on ``valid``.

    Parameters
    ----------
    table : ``evaluation.mean_over_seeds`` of all configurations.

    Returns
    -------
    dict
        The margins by allowed drop. Where none keeps it, which happens on small trials only, the
        strictest ones.
    """
    strictest = tuple(min(each) for each in limits.margins)
    chosen = of_cell(recommend(table, drops), BTS_EE)
    rows = {row.max_drop: (row.m1, row.m2, row.m3) for row in chosen.itertuples()}
    return {drop: rows.get(drop, strictest) for drop in sorted(set(drops))}


def name_of(drop: float, margins: dict[float, tuple[float, ...]]) -> str:
    """Name a recommended configuration by all the allowed drops that it is recommended for."""
    drops = [f"{other:g}" for other, chosen in margins.items() if chosen == margins[drop]]
    return f"drop <= {' and '.join(drops)}"


def build_cascade(
    trained: object,
    margins: tuple[float, ...],
    backbone: StagedResNet18,
    features: Features,
    parameters: BranchParameters,
    limits: BoostingParameters,
    image_shape: Sequence[int],
) -> Cascade:
    """Put the boosted branches of a configuration on their backbone, calibrated on ``valid``.

    Parameters
    ----------
    trained : the branches of one seed, ``stored.SeedBranches``.
    """
    said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
    _, thresholds = calibrated(trained, BTS_EE, margins, said, features, limits)
    branches = []
    for number, position in enumerate(trained.rows("boosted", margins), start=1):
        branch = new_branch(number, features, parameters, trained.seed)
        if trained.states[position]:  # a closed branch was never trained, and is never run
            branch.load_state_dict(trained.states[position])
        branches.append(branch.eval())
    return Cascade(backbone, branches, thresholds, image_shape).requires_grad_(False)


def in_batches(
    predict: Callable[[Tensor], Sequence], images: Tensor, batch_size: int, progress: Callable = iter
) -> Exits:
    """Let ``predict`` decide on raw images, uint8 (N, C, H, W), batch after batch, and join the answers."""
    answers = [predict(part) for part in progress(images.split(batch_size))]
    return Exits(*(torch.cat([torch.as_tensor(part) for part in each]) for each in zip(*answers, strict=True)))


def what_branches_say(trained: object, margins: tuple[float, ...], split: str) -> tuple[Tensor, Tensor]:
    """Confidence and class (B, N) that the boosted branches of a configuration have for a stored split."""
    return confidence_and_class(trained.logits[split][trained.rows("boosted", margins)])


def agreement(
    expected: Sequence, found: Sequence, confidence: Tensor, predicted: Tensor, thresholds: Tensor
) -> dict[str, float]:
    """Compare the decisions of two ways to run a cascade, image by image.

    Parameters
    ----------
    expected, found : label, exit and confidence, (N,) each.
    confidence, predicted : of the branches, (B, N); thresholds (B, K).

    Returns
    -------
    dict
        Numbers of images: ``other_label``, ``other_exit``; of these ``near_threshold`` (a branch is within
        1e-4 of its threshold) and ``unexplained`` (it is not); and ``largest_difference`` of the
        confidence where the exits agree.
    """
    labels, exits = (torch.as_tensor(found[i]) != expected[i] for i in (0, 1))
    needed = torch.stack([thresholds[b][predicted[b]] for b in range(len(thresholds))])
    near = ((confidence - needed).abs() < NEAR).any(0)
    difference = (torch.as_tensor(found[2]) - expected[2]).abs()[~exits]
    return {
        "other_label": int(labels.sum()),
        "other_exit": int(exits.sum()),
        "near_threshold": int(((labels | exits) & near).sum()),
        "unexplained": int(((labels | exits) & ~near).sum()),
        "largest_difference": float(difference.max()) if len(difference) else 0.0,
    }


def break_even(by_exit: Sequence[float], backbone: float) -> list[float]:
    """Share of images that must leave at each branch, if all others go to the end, to pay for the branches.

    Parameters
    ----------
    by_exit : cost of an image by its exit, B + 1 numbers in any unit; backbone : without branches.

    Returns
    -------
    list of float
        For each branch, (C_last - C_backbone) / (C_last - C_branch).
    """
    *early, last = by_exit
    return [(last - backbone) / (last - cost) for cost in early]


def against_static(cascade_correct: np.ndarray, static_correct: np.ndarray) -> tuple[float, float, float]:
    """Points by which a cascade is more accurate than a static network, with a 95 % interval, paired."""
    difference = cascade_correct.astype(float) - static_correct.astype(float)
    low, high = ratio_interval(difference, np.ones_like(difference))
    return 100 * difference.mean(), 100 * low, 100 * high


def configuration_times(
    trained: object,
    features: Features,
    cost: CostModel,
    limits: BoostingParameters,
    by_exit: Sequence[float],
) -> pd.DataFrame:
    """Mean time and drop of all configurations of BTS-EE, from the time that each exit takes.

    Parameters
    ----------
    by_exit : milliseconds of an image by its exit, B + 1 numbers.

    Returns
    -------
    DataFrame
        ``m1, m2, m3, milliseconds`` (mean over ``valid``), ``valid_drop`` and ``drop`` (points, test).
    """
    said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
    times, rows = torch.tensor(by_exit, dtype=torch.float64), []
    for margins in configurations(limits):
        chosen, thresholds = calibrated(trained, BTS_EE, margins, said, features, limits)
        result = {
            name: run_simulation(*chosen[name], features[name], thresholds, cost) for name in ("valid", "test")
        }
        drops = [result[name].summary()["drop"] for name in ("valid", "test")]
        rows.append((*margins, float(times[result["valid"].exits.exit].mean()), *drops))
    names = [f"m{b}" for b in range(1, len(limits.margins) + 1)]
    return pd.DataFrame(rows, columns=[*names, "milliseconds", "valid_drop", "drop"])


def within_budget(table: pd.DataFrame, milliseconds: float) -> pd.Series | None:
    """The configuration with the smallest drop on ``valid`` whose mean time keeps the bound, or None."""
    allowed = table[table["milliseconds"] <= milliseconds]
    return allowed.loc[allowed["valid_drop"].idxmin()] if len(allowed) else None


def executed_nodes(profile: Sequence[dict], segments: Sequence[str]) -> dict[str, int]:
    """Count the operators that ran in each segment, from a profile of ONNX Runtime.

    Parameters
    ----------
    profile : its events.
    segments : names such as ``stage_1``, the beginnings of the operators' names.
    """
    ran = {event["name"] for event in profile if event.get("cat") == "Node"}
    return {segment: sum(name.startswith(f"{segment}/") for name in ran) for segment in segments}


def easiest_to_hardest(exits: Tensor, confidence: Tensor, number: int) -> list[Tensor]:
    """Positions of ``number`` images for each exit, evenly spread from the surest to the least sure."""
    chosen = []
    for exit_number in range(int(exits.max()) + 1):
        here = (exits == exit_number).nonzero().flatten()
        ordered = here[confidence[here].argsort(descending=True)]
        places = torch.linspace(0, max(len(ordered) - 1, 0), min(number, len(ordered))).round().long()
        chosen.append(ordered[places])
    return chosen
