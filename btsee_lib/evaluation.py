"""What the configurations cost and what they save, chosen on ``valid`` and reported on ``test``.

A *cell* is one of the 2 x 2 of training (independent, boosted) and calibration (full, survivors).
The baseline is independent + full, BTS-EE is boosted + survivors. Two cells with equal margins
need not spend the same, so they are compared at equal compute: along their Pareto fronts, whose
members are picked on the validation split.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import calibration_terms, configurations
from btsee_lib.calibration import CALIBRATIONS, CPM, FULL, SURVIVORS, ExitRule, Terms, calibrate
from btsee_lib.cascade import simulate
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions, Outputs, Tally
from btsee_lib.features import Features
from btsee_lib.trees import BranchTree, margin_names, of_scheme

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters


class Cell(NamedTuple):
    """One of the 2 x 2: how the branches are trained, and on what they are calibrated."""

    training: str
    calibration: str


BASELINE, BTS_EE = Cell("independent", FULL), Cell("boosted", SURVIVORS)
CALIBRATION_ALONE = Cell("independent", SURVIVORS)
FIRST_BRANCH = Cell("independent", "first_branch")  # not of the 2 x 2: branch 1 alone, then the backbone
TIES = (1e-4, 1e-6)  # of a drop (points) and of a reduction (share): smaller differences are of rounding


class Calibrated(NamedTuple):
    """The branches of one configuration, ready to run: outputs on valid and test, thresholds (B, K)."""

    outputs: Outputs
    thresholds: Tensor


class Calibrator:
    """Sets thresholds for the configurations of one tree: what its branches say is worked out once.

    Parameters
    ----------
    tree : the trained branches.
    terms : of all calibrations, see ``boosting.calibration_terms``.
    """

    def __init__(self, tree: BranchTree, features: Features, terms: Terms, rule: ExitRule = CPM):
        self.tree, self.terms, self.rule = tree, terms, rule
        self.labels = features["valid"].labels
        self.outputs = {name: rule.outputs(logits) for name, logits in tree.logits.items()}

    def calibrated(self, margins: Sequence[float], calibration: str = SURVIVORS) -> Calibrated:
        """Pick the branches of a configuration and set their thresholds on ``valid``.

        Parameters
        ----------
        margins : one a branch; the knobs, if the rule has others.
        calibration : one of ``calibration.CALIBRATIONS``.
        """
        rows = self.tree.rows(margins)
        outputs = {
            name: (confidence[rows], predicted[rows]) for name, (confidence, predicted) in self.outputs.items()
        }
        closed = self.tree.nodes["closed"].to_numpy()[rows]
        thresholds = calibrate(
            *outputs["valid"], self.labels, margins, self.terms, calibration, self.rule, closed
        )
        return Calibrated(outputs, thresholds)


def evaluate_configurations(
    trees: Iterable[BranchTree],
    features: Features,
    cost: CostModel,
    parameters: "BoostingParameters",
    rule: ExitRule = CPM,
    calibrations: Sequence[str] = CALIBRATIONS,
    chosen: Sequence[tuple[float, ...]] | None = None,
) -> Decisions:
    """Calibrate configurations of every tree on ``valid``, on all of it and on survivors, and run them.

    Parameters
    ----------
    chosen : the configurations, (m_1, ..., m_B) each; by default all that ``parameters`` ask for.
    """
    tally, terms = Tally(features, cost), calibration_terms(features, parameters)
    chosen = configurations(parameters) if chosen is None else chosen
    for tree in trees:
        calibrator = Calibrator(tree, features, terms, rule)
        for calibration, margins in itertools.product(calibrations, chosen):
            names = {"seed": tree.seed, "training": tree.scheme, "calibration": calibration}
            tally.add(names | margin_names(margins), *calibrator.calibrated(margins, calibration))
    return tally.decisions()


def evaluate_first_branch(
    trees: Iterable[BranchTree], features: Features, cost: CostModel, terms: Terms, rule: ExitRule = CPM
) -> Decisions:
    """Run the cascade of branch 1 alone and the backbone, with every knob of the rule.

    Branch 1 meets all images, so neither the training on survivors nor the calibration on them touches it.
    The later branches are closed: they let nothing out and cost nothing.
    """
    tally = Tally(features, cost)
    for tree in of_scheme(trees, FIRST_BRANCH.training):
        calibrator = Calibrator(tree, features, terms, rule)
        for knob in rule.knobs:
            outputs, thresholds = calibrator.calibrated([knob] * len(cost.branches))
            thresholds[1:] = torch.inf
            tally.add({"seed": tree.seed, **FIRST_BRANCH._asdict(), "m1": knob}, outputs, thresholds)
    return tally.decisions()


def class_exits(
    trees: Iterable[BranchTree],
    features: Features,
    terms: Terms,
    margins: Sequence[float],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Where the test images of each true class leave: ``class, exit, share``, averaged over the trees."""
    labels, exits_in_all = features["test"].labels, len(margins) + 1
    shares = []
    for tree in trees:
        outputs, thresholds = Calibrator(tree, features, terms).calibrated(margins)
        exits = simulate(*outputs["test"], features["test"].predicted, thresholds).exit
        counts = torch.bincount(labels * exits_in_all + exits, minlength=len(classes) * exits_in_all)
        counts = counts.view(len(classes), -1).double()
        shares.append(counts / counts.sum(1, keepdim=True))
    mean = torch.stack(shares).mean(0)
    rows = [(name, e + 1, float(mean[c, e])) for c, name in enumerate(classes) for e in range(mean.shape[1])]
    return pd.DataFrame(rows, columns=["class", "exit", "share"])


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """Return the cells of a table, in the order in which they first stand there."""
    return [Cell(*row) for row in table[["training", "calibration"]].drop_duplicates().itertuples(index=False)]


def mean_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of a configuration over the seeds."""
    return table.groupby(configuration_columns(table), sort=False).mean().drop(columns="seed").reset_index()


def configuration_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that name a row, apart from its seed: those before its ``accuracy``."""
    return [name for name in table.columns[: table.columns.get_loc("accuracy")] if name != "seed"]


def of_cell(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """The rows of one cell."""
    return table[(table["training"] == cell.training) & (table["calibration"] == cell.calibration)]


def on_front(drop: Sequence[float], reduction: Sequence[float]) -> np.ndarray:
    """Which points no other point beats: bool (n,).

    A point is beaten if another drops no more and reduces more, or drops less and reduces no less.
    """
    drop, reduction = (
        np.round(np.asarray(each) / tie) for each, tie in zip((drop, reduction), TIES, strict=True)
    )
    no_worse = (drop[:, None] >= drop) & (reduction[:, None] <= reduction)
    better = (drop[:, None] > drop) | (reduction[:, None] < reduction)
    return ~(no_worse & better).any(1)


def fronts(mean_table: pd.DataFrame) -> pd.DataFrame:
    """The Pareto front of every cell, its members picked on ``valid``, ordered by test reduction."""
    parts = []
    for cell in cells_of(mean_table):
        rows = of_cell(mean_table, cell)
        parts.append(rows[on_front(rows["valid_drop"], rows["valid_reduction"])].sort_values("reduction"))
    return pd.concat(parts)


def interpolated(at: np.ndarray | float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate y between points (n,) that need not be in order; the end values hold beyond the ends."""
    order = np.argsort(x, kind="stable")
    return np.interp(at, x[order], y[order])


def recommend(mean_table: pd.DataFrame, max_drops: Iterable[float]) -> pd.DataFrame:
    """Per cell and allowed drop, the configuration that saves most on ``valid``.

    Each row is the configuration's, with ``max_drop`` and its ``position`` in the table before it.

    Cells in which no configuration keeps the drop on ``valid`` have no row.
    """
    rows = []
    for max_drop in max_drops:
        for cell in cells_of(mean_table):
            allowed = of_cell(mean_table, cell)
            allowed = allowed[allowed["valid_drop"] <= max_drop]
            if len(allowed):
                best = allowed.loc[allowed["valid_reduction"].idxmax()]
                rows.append({"max_drop": max_drop, "position": best.name, **best.to_dict()})
    return pd.DataFrame(rows, columns=["max_drop", "position", *mean_table.columns])
