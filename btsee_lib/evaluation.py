"""What the configurations cost and what they save, chosen on ``valid`` and reported on ``test``.

A *cell* is one of the 2 x 2 of training (independent, boosted) and calibration (full, survivors).
The baseline is independent + full, BTS-EE is boosted + survivors. Two cells with equal margins
need not spend the same, so they are compared at equal compute: along their Pareto fronts, whose
members are picked on the validation split.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from torch import Tensor

from btsee_lib.boosting import Features, backbone_precision, configurations
from btsee_lib.calibration import calibrate, confidence_and_class, precision_bars
from btsee_lib.cascade import simulate
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions, Tally

CELLS = [("independent", "full"), ("independent", "survivors"), ("boosted", "full"), ("boosted", "survivors")]
BASELINE, BTS_EE = CELLS[0], CELLS[3]
TIE = 1e-6  # points: smaller differences are of rounding


def calibrated(
    trained: object,
    cell: tuple[str, str],
    margins: tuple[float, ...],
    said: dict[str, tuple[Tensor, Tensor]],
    features: Features,
    limits: BoostingParameters,
) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Pick the branches of a configuration and set their thresholds on ``valid``.

    Parameters
    ----------
    trained : the branches of one seed, ``stored.SeedBranches``.
    said : what all of them say: confidence and class (nodes, N), for valid and test.

    Returns
    -------
    What the chosen branches say, (B, N), and the thresholds (B, K).
    """
    training, calibration = cell
    nodes = trained.rows(training, margins)
    chosen = {name: (confidence[nodes], predicted[nodes]) for name, (confidence, predicted) in said.items()}
    bars = precision_bars(backbone_precision(features), margins, limits.bar_ceiling, limits.class_margins)
    bars[trained.nodes["closed"].to_numpy()[nodes]] = torch.nan  # a closed branch lets nothing out
    return chosen, calibrate(*chosen["valid"], features["valid"].labels, bars, limits.min_support, calibration)


def evaluate_configurations(
    cascades: Iterable, features: Features, cost: CostModel, limits: BoostingParameters
) -> Decisions:
    """Calibrate every configuration of every cell on ``valid`` and run it.

    Parameters
    ----------
    cascades : the trained branches, one ``stored.SeedBranches`` a seed.
    """
    tally = Tally(features, cost)
    for trained in cascades:
        said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
        for cell, margins in itertools.product(CELLS, configurations(limits)):
            chosen, thresholds = calibrated(trained, cell, margins, said, features, limits)
            names = {"seed": trained.seed, "training": cell[0], "calibration": cell[1]}
            names |= {f"m{b}": margin for b, margin in enumerate(margins, start=1)}
            tally.add(names, chosen, thresholds)
    return tally.decisions()


def class_exits(
    cascades: Iterable,
    features: Features,
    limits: BoostingParameters,
    cell: tuple[str, str],
    margins: tuple[float, ...],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Where the test images of each true class leave: ``class, exit, share``, averaged over seeds."""
    labels = features["test"].labels
    shares = []
    for trained in cascades:
        said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
        chosen, thresholds = calibrated(trained, cell, margins, said, features, limits)
        exits = simulate(*chosen["test"], features["test"].predicted, thresholds).exit
        counts = torch.bincount(
            labels * (len(margins) + 1) + exits, minlength=len(classes) * (len(margins) + 1)
        )
        counts = counts.view(len(classes), -1).double()
        shares.append(counts / counts.sum(1, keepdim=True))
    mean = torch.stack(shares).mean(0)
    rows = [(name, e + 1, float(mean[c, e])) for c, name in enumerate(classes) for e in range(mean.shape[1])]
    return pd.DataFrame(rows, columns=["class", "exit", "share"])


def mean_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of a configuration over the seeds."""
    return table.groupby(configuration_columns(table), sort=False).mean().drop(columns="seed").reset_index()


def configuration_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that name a row, apart from its seed: those before its ``accuracy``."""
    return [name for name in table.columns[: table.columns.get_loc("accuracy")] if name != "seed"]


def of_cell(table: pd.DataFrame, cell: tuple[str, str]) -> pd.DataFrame:
    """The rows of one cell."""
    return table[(table["training"] == cell[0]) & (table["calibration"] == cell[1])]


def on_front(drop: Sequence[float], reduction: Sequence[float]) -> np.ndarray:
    """Which points no other point beats: bool (n,).

    A point is beaten if another drops no more and reduces more, or drops less and reduces no less.
    """
    drop, reduction = np.asarray(drop), np.asarray(reduction)
    no_worse = (drop[:, None] >= drop) & (reduction[:, None] <= reduction)
    better = (drop[:, None] > drop) | (reduction[:, None] < reduction)
    return ~(no_worse & better).any(1)


def fronts(mean_table: pd.DataFrame) -> pd.DataFrame:
    """The Pareto front of every cell, its members picked on ``valid``, ordered by test reduction."""
    parts = []
    for cell in CELLS:
        rows = of_cell(mean_table, cell)
        parts.append(rows[on_front(rows["valid_drop"], rows["valid_reduction"])].sort_values("reduction"))
    return pd.concat(parts)


def drop_at(reduction: np.ndarray, drop: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Interpolate the drop of a curve at the wanted reductions; its end value holds beyond its ends."""
    order = np.argsort(reduction, kind="stable")
    return np.interp(wanted, reduction[order], drop[order])


def distance_to_front(reduction: np.ndarray, drop: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Points of accuracy by which each configuration (R,) beats the front at its own reduction.

    The front starts at the bare backbone, which saves nothing and loses nothing. Beyond its other end
    its last drop is taken, which is in the front's favour.
    """
    curve = [np.concatenate([[0.0], values[front]]) for values in (reduction, drop)]
    return drop_at(*curve, reduction) - drop


def recommend(mean_table: pd.DataFrame, max_drops: Iterable[float]) -> pd.DataFrame:
    """Per cell and allowed drop, the configuration that saves most on ``valid``.

    Each row is the configuration's, with ``max_drop`` and its ``position`` in the table before it.

    Cells in which no configuration keeps the drop on ``valid`` have no row.
    """
    rows = []
    for max_drop in max_drops:
        for cell in CELLS:
            allowed = of_cell(mean_table, cell)
            allowed = allowed[allowed["valid_drop"] <= max_drop]
            if len(allowed):
                best = allowed.loc[allowed["valid_reduction"].idxmax()]
                rows.append({"max_drop": max_drop, "position": best.name, **best.to_dict()})
    return pd.DataFrame(rows, columns=["max_drop", "position", *mean_table.columns])


def sign_test(gains: Iterable[float]) -> dict[str, float]:
    """Count wins, losses and ties, with the two-sided p of as uneven a count by chance."""
    gains = np.asarray(list(gains))
    wins, losses = int((gains > TIE).sum()), int((gains < -TIE).sum())
    p = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    return {"wins": wins, "losses": losses, "ties": len(gains) - wins - losses, "p": p}
