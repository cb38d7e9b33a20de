"""From a recommended configuration to a cascade that is taken away, and what it answers, image by image."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from btsee_lib.calibration import CPM, ExitRule, Terms
from btsee_lib.cascade import Cascade, Exits
from btsee_lib.config import BoostingParameters, BranchParameters
from btsee_lib.evaluation import BTS_EE, Calibrator, of_cell, recommend
from btsee_lib.features import Features
from btsee_lib.fitting import initial_branch
from btsee_lib.schemes import SCHEMES
from btsee_lib.schemes.scheme import Head
from btsee_lib.trees import BranchTree, margin_columns
from btsee_lib.uncertainty import ratio_interval

NEAR = 1e-5  # of its threshold: there, rounding may decide


def recommended_margins(
    table: pd.DataFrame, drops: Iterable[float], parameters: BoostingParameters
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
    strictest = tuple(min(each) for each in parameters.margins)
    chosen = of_cell(recommend(table, drops), BTS_EE).set_index("max_drop")
    rows = {row[0]: row[1:] for row in chosen[margin_columns(chosen)].itertuples(name=None)}
    return {drop: rows.get(drop, strictest) for drop in sorted(set(drops))}


def name_of(drop: float, margins: dict[float, tuple[float, ...]]) -> str:
    """Name a recommended configuration by all the allowed drops that it is recommended for."""
    drops = [f"{other:g}" for other, chosen in margins.items() if chosen == margins[drop]]
    return f"drop <= {' and '.join(drops)}"


def build_cascade(
    tree: BranchTree,
    margins: tuple[float, ...],
    backbone: nn.Module,
    features: Features,
    branch_parameters: BranchParameters,
    terms: Terms,
    image_shape: Sequence[int],
    rule: ExitRule = CPM,
) -> Cascade:
    """Put the branches of a configuration on their backbone, calibrated on the survivors of ``valid``.

    Parameters
    ----------
    tree : the trained branches.
    margins : one a branch; the knobs, if the rule has others.
    """
    if SCHEMES[tree.scheme].head.answers is not Head.answers:
        raise ValueError(
            f"exits of the scheme '{tree.scheme}' answer by more than their own branch, and no running cascade "
            "does: take a tree of another scheme"
        )
    thresholds = Calibrator(tree, features, terms, rule).calibrated(margins).thresholds
    branches = []
    for number, position in enumerate(tree.rows(margins), start=1):
        branch = initial_branch(number, features, branch_parameters, tree.seed)
        if tree.states[position]:  # a closed branch was never trained, and is never run
            branch.load_state_dict(tree.states[position])
        branches.append(branch.eval())
    return Cascade(backbone, branches, thresholds, image_shape, rule).requires_grad_(False)


def in_batches(
    predict: Callable[[Tensor], Sequence], images: Tensor, batch_size: int, progress: Callable = iter
) -> Exits:
    """Let ``predict`` decide on raw images, uint8 (N, C, H, W), batch after batch, and join the answers."""
    answers = [predict(part) for part in progress(images.split(batch_size))]
    return Exits(*(torch.cat([torch.as_tensor(part) for part in each]) for each in zip(*answers, strict=True)))


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
        Numbers of images: ``images``, ``other_label``, ``other_exit``; of the others ``near_threshold`` (the
        exits differ, and the branch where they part is within 1e-5 of its threshold) and ``unexplained``;
        and ``largest_difference`` of the confidence where the exits agree.
    """
    labels, exits = (torch.as_tensor(found[i]) != expected[i] for i in (0, 1))
    gaps = confidence - thresholds.gather(1, predicted)
    near = exits & near_threshold(torch.as_tensor(found[1]), expected[1], gaps)
    difference = (torch.as_tensor(found[2]) - expected[2]).abs()[~exits]
    return {
        "images": len(labels),
        "other_label": int(labels.sum()),
        "other_exit": int(exits.sum()),
        "near_threshold": int(near.sum()),
        "unexplained": int(((labels | exits) & ~near).sum()),
        "largest_difference": float(difference.max()) if len(difference) else 0.0,
    }


def near_threshold(exits: Tensor, others: Tensor, gaps: Tensor) -> Tensor:
    """Tell for which images, bool (N,), two ways part at a threshold: so near to it, rounding may decide.

    Parameters
    ----------
    exits, others : int64 (N,), of the same images in two ways.
    gaps : float (B, N), the confidence of the branches less their thresholds.
    """
    # The ways part at the earlier of the two exits; the last exit decides nothing.
    parting = torch.minimum(exits, others).clamp(max=len(gaps) - 1)
    return gaps.gather(0, parting[None])[0].abs() <= NEAR


def against_static(cascades_correct: np.ndarray, static_correct: np.ndarray) -> tuple[float, float, float]:
    """Points by which cascades are more accurate than a static network, with a 95 % interval, paired.

    Parameters
    ----------
    cascades_correct : bool (S, N), for each seed. The interval is of their mean and covers the choice
        of the test images only, neither another training of the cascades nor of the static network.
    static_correct : bool (N,).
    """
    difference = cascades_correct.mean(0) - static_correct
    low, high = ratio_interval(difference, np.ones_like(difference))
    return 100 * difference.mean(), 100 * low, 100 * high


def easiest_to_hardest(exits: Tensor, confidence: Tensor, number: int) -> list[Tensor]:
    """Positions of ``number`` images for each exit, evenly spread from the surest to the least sure."""
    chosen = []
    for exit_number in range(int(exits.max()) + 1):
        here = (exits == exit_number).nonzero().flatten()
        ordered = here[confidence[here].argsort(descending=True)]
        places = torch.linspace(0, max(len(ordered) - 1, 0), min(number, len(ordered))).round().long()
        chosen.append(ordered[places])
    return chosen
