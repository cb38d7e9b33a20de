"""How do ways to train a cascade compare on the same backbone, features, initial weights, visits and exit rule?

Every scheme trains behind a few *rungs*, from strict to loose margins, and is calibrated on survivors. The last
branch takes every margin of its list, since nothing is trained behind it.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from btsee_lib.boosting import calibration_terms, train_tree
from btsee_lib.calibration import SURVIVORS
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions, Tally
from btsee_lib.evaluation import (
    CALIBRATION_ALONE,
    Calibrator,
    Cell,
    evaluate_configurations,
    mean_over_seeds,
    recommend,
)
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.features import Features
from btsee_lib.schemes import SCHEMES
from btsee_lib.studies.comparison import Resamples, bootstrap, gain_at_equal_compute
from btsee_lib.trees import BranchTree, margin_columns
from btsee_lib.uncertainty import interval

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters, EvaluationParameters

EFFORTS = (0.25, 0.5, 1.0)  # times the visits that params.yaml asks for
PAIR_RESAMPLES = 20_000  # the ends of intervals that hold for all pairs at once lie far out


def rungs(parameters: "BoostingParameters") -> list[tuple[float, ...]]:
    """Configurations along the diagonal of the lists of margins, each with all margins of the last list."""
    *before, last = parameters.margins
    return [(*rung, margin) for rung in zip(*before, strict=False) for margin in last]


def middle_rung(parameters: "BoostingParameters") -> tuple[float, ...]:
    """Return the configuration in the middle of the rungs."""
    return rungs(parameters)[len(rungs(parameters)) // 2]


def evaluated(
    trees: Iterable[BranchTree], features: Features, cost: CostModel, parameters: "BoostingParameters"
) -> Decisions:
    """Calibrate the rungs of every tree on survivors, and run them over valid and test."""
    return evaluate_configurations(
        trees, features, cost, parameters, calibrations=[SURVIVORS], chosen=rungs(parameters)
    )


def standings(
    decisions: Decisions, parameters: "EvaluationParameters", rival: Cell = CALIBRATION_ALONE
) -> pd.DataFrame:
    """What each scheme saves at most for each allowed drop, chosen on valid, and its gain over the rival.

    Returns
    -------
    DataFrame
        A row a scheme and allowed drop: ``training, max_drop, drop, reduction`` with ``.._low, .._high``, and
        ``gain, gain_low, gain_high``: points of accuracy at equal compute, front against front. Drop and
        reduction are nan where no rung keeps the drop on valid.
    """
    averaged = mean_over_seeds(decisions.table)
    drawn = bootstrap(decisions, parameters.resamples, parameters.seed)
    best = recommend(averaged, parameters.max_drops).set_index(["training", "max_drop"])
    rows = []
    for training in averaged["training"].unique():
        ahead = _ahead(averaged, drawn, Cell(training, SURVIVORS), rival, parameters.confidence)
        for max_drop in parameters.max_drops:
            chosen = best.loc[(training, max_drop)] if (training, max_drop) in best.index else None
            at = _with_intervals(chosen, drawn, parameters.confidence)
            rows.append({"training": training, "max_drop": max_drop, **at, **ahead})
    return pd.DataFrame(rows)


def _with_intervals(chosen: pd.Series | None, drawn: Resamples, confidence: float) -> dict[str, float]:
    """Drop and reduction of a chosen configuration on test."""
    found = {}
    for name in ("drop", "reduction"):
        low = high = value = np.nan
        if chosen is not None:
            value = chosen[name]
            low, high = interval(getattr(drawn, name)[:, int(chosen["position"])], confidence)
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found


def _ahead(
    averaged: pd.DataFrame, drawn: Resamples, cell: Cell, rival: Cell, confidence: float
) -> dict[str, float]:
    """The mean gain of a scheme over the rival at equal compute."""
    mean = gain_at_equal_compute(averaged, drawn, rival, cell, confidence).iloc[-1]
    return {"gain": mean["gain"], "gain_low": mean["low"], "gain_high": mean["high"]}


def who_beats_whom(
    decisions: Decisions, parameters: "EvaluationParameters", resamples: int = PAIR_RESAMPLES
) -> pd.DataFrame:
    """Gain at equal compute of every scheme (``training``) over every one that stands after it (``over``).

    The intervals are those of one comparison at ``1 - (1 - confidence) / n`` for n pairs (Bonferroni), so that
    all of them hold together.
    """
    averaged = mean_over_seeds(decisions.table)
    drawn = bootstrap(decisions, resamples, parameters.seed)
    pairs = list(itertools.combinations(averaged["training"].unique(), 2))
    confidence = 1 - (1 - parameters.confidence) / len(pairs)
    rows = [
        {"training": one, "over": other}
        | _ahead(averaged, drawn, Cell(one, SURVIVORS), Cell(other, SURVIVORS), confidence)
        for one, other in pairs
    ]
    return pd.DataFrame(rows)


def behind(tree: BranchTree, margins: Sequence[float]) -> BranchTree:
    """Return the branches of one configuration as a tree of their own, for thresholds of any kind."""
    rows = tree.rows(margins)
    nodes = tree.nodes.iloc[rows].reset_index(drop=True)
    nodes[margin_columns(nodes)] = np.nan
    logits = {name: each[rows] for name, each in tree.logits.items()}
    return replace(tree, nodes=nodes, logits=logits, states=[tree.states[row] for row in rows])


def by_rule(
    trees: Iterable[BranchTree],
    features: Features,
    cost: CostModel,
    parameters: "BoostingParameters",
    max_drops: Sequence[float],
) -> pd.DataFrame:
    """What each scheme saves under each exit rule: branches behind the middle rung, the knob chosen on valid.

    Returns
    -------
    DataFrame
        ``training, rule, max_drop, knob, drop, reduction``, the last two on test, mean of the seeds.
    """
    tally, terms = Tally(features, cost), calibration_terms(features, parameters)
    for tree, (name, rule) in itertools.product(trees, EXIT_RULES.items()):
        calibrator = Calibrator(behind(tree, middle_rung(parameters)), features, terms, rule)
        for knob in rule.knobs:
            names = {"seed": tree.seed, "training": tree.scheme, "rule": name, "knob": knob}
            tally.add(names, *calibrator.calibrated([knob] * len(cost.branches)))
    averaged = mean_over_seeds(tally.decisions().table)
    best = [
        allowed.loc[[allowed["valid_reduction"].idxmax()]].assign(max_drop=max_drop)
        for max_drop in max_drops
        for _, allowed in averaged[averaged["valid_drop"] <= max_drop].groupby(["training", "rule"], sort=False)
    ]
    columns = ["training", "rule", "max_drop", "knob", "drop", "reduction"]
    return pd.concat([*best, pd.DataFrame(columns=columns)])[columns]


def accuracy_by_effort(
    name: str,
    features: Features,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    met: Sequence[np.ndarray],
    seed: int,
    efforts: Sequence[float] = EFFORTS,
) -> pd.DataFrame:
    """Accuracy of each branch of a scheme, on the validation images that it meets, after fewer visits.

    Parameters
    ----------
    name : of the scheme.
    met : for each branch bool (N,), the validation images on which all schemes are compared.

    Returns
    -------
    DataFrame
        ``training, branch, epochs, valid_accuracy``; a branch that is closed has no row.
    """
    labels, rows = features["valid"].labels, []
    for effort in efforts:
        epochs = effort * branch_parameters.epochs
        shorter = branch_parameters.model_copy(update={"epochs": epochs})
        arguments = (SCHEMES[name], features, shorter, boosting_parameters, seed)
        for each in train_tree(*arguments, chosen=[middle_rung(boosting_parameters)]):
            if not each.closed:
                right = (each.logits["valid"].argmax(1) == labels)[met[each.branch - 1]]
                row = {"training": name, "branch": each.branch, "epochs": epochs}
                rows.append(row | {"valid_accuracy": float(right.double().mean())})
    return pd.DataFrame(rows)
