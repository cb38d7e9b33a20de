"""How do ways to train a cascade compare on the same backbone, features, initial weights, visits and exit rule?

Every scheme trains behind three *rungs*, of strict, middling and loose margins, and is calibrated on survivors.
The last branch takes every margin of its list, since nothing is trained behind it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from btsee_lib.calibration import SURVIVORS
from btsee_lib.config import BoostingParameters, EvaluationParameters
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, Cell, cells_of, mean_over_seeds, on_front, recommend
from btsee_lib.features import Features
from btsee_lib.studies import comparison
from btsee_lib.studies.effort import middle_rung
from btsee_lib.studies.rule_sweep import sweep_rules
from btsee_lib.trees import BranchTree, margin_columns

GAIN = ["gain", "gain_low", "gain_high"]
RIVAL = Cell(CALIBRATION_ALONE.training, "CPM")  # of ``offers``: behind the middle rung
PAIR_RESAMPLES = 20_000  # the ends of intervals that hold for all pairs at once lie far out


def standings(
    decisions: Decisions, parameters: EvaluationParameters, rival: Cell = CALIBRATION_ALONE
) -> pd.DataFrame:
    """What each scheme saves at most for each allowed drop, chosen on valid, and its gain over the rival.

    Returns
    -------
    DataFrame
        A row a cell and allowed drop: ``training, calibration, max_drop``; the columns that name the
        configuration which was chosen, and ``valid_reduction`` by which it was; ``drop, reduction`` with
        ``.._low, .._high``; and ``gain, gain_low, gain_high``: points of accuracy at equal compute, front
        against front. What belongs to a configuration is nan where none keeps the drop on valid.
    """
    averaged, drawn = comparison.averaged_and_drawn(parameters, decisions)
    best = recommend(averaged, parameters.max_drops).set_index([*Cell._fields, "max_drop"])
    on_test = [f"{name}{end}" for name in ("drop", "reduction") for end in ("", "_low", "_high")]
    told, rows = [*comparison.knob_names(averaged), "valid_reduction", *on_test], []
    for cell in cells_of(averaged):
        ahead = gain_over(averaged, drawn, cell, rival, parameters.confidence)
        for max_drop in parameters.max_drops:
            key = (*cell, max_drop)
            at = best.loc[key, told] if key in best.index else dict.fromkeys(told, np.nan)
            rows.append({**cell._asdict(), "max_drop": max_drop, **at, **ahead})
    return pd.DataFrame(rows)


def gain_over(
    averaged: pd.DataFrame, drawn: comparison.Resamples, cell: Cell, rival: Cell, confidence: float
) -> dict[str, float]:
    """The mean gain of a cell over the rival at equal compute: the columns ``GAIN``."""
    mean = comparison.gain_at_equal_compute(averaged, drawn, rival, cell, confidence).iloc[-1]
    return dict(zip(GAIN, mean[["gain", "low", "high"]], strict=True))


def who_beats_whom(
    decisions: Decisions, parameters: EvaluationParameters, resamples: int = PAIR_RESAMPLES
) -> pd.DataFrame:
    """Gain at equal compute of every scheme (``training``) over every one that stands after it (``over``).

    The intervals are those of one comparison at ``1 - (1 - confidence) / n`` for n pairs (Bonferroni): for the
    choice of test images all of them hold together. Seeds are drawn as well, but of three no interval can be
    that wide: it ends at the worst of them.
    """
    averaged = mean_over_seeds(decisions.table)
    drawn = comparison.bootstrap(decisions, resamples, parameters.seed)
    pairs = list(itertools.combinations(averaged["training"].unique(), 2))
    confidence = 1 - (1 - parameters.confidence) / len(pairs)
    rows = [
        {"training": one, "over": other}
        | gain_over(averaged, drawn, Cell(one, SURVIVORS), Cell(other, SURVIVORS), confidence)
        for one, other in pairs
    ]
    return pd.DataFrame(rows)


def both_ways(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``who_beats_whom``, and after them the same ones turned round."""
    names = {"training": "over", "over": "training"}
    gains = {"gain": -pairs["gain"], "gain_low": -pairs["gain_high"], "gain_high": -pairs["gain_low"]}
    return pd.concat([pairs, pairs.rename(columns=names).assign(**gains)], ignore_index=True)


def behind(tree: BranchTree, margins: Sequence[float]) -> BranchTree:
    """Return the branches of one configuration as a tree of their own, for thresholds of any kind."""
    rows = tree.rows(margins)
    nodes = tree.nodes.iloc[rows].reset_index(drop=True)
    nodes[margin_columns(nodes)] = np.nan
    logits = {name: each[rows] for name, each in tree.logits.items()}
    return replace(tree, nodes=nodes, logits=logits, states=[tree.states[row] for row in rows])


def under_rules(
    trees: Sequence[BranchTree], features: Features, cost: CostModel, parameters: BoostingParameters
) -> Decisions:
    """Run the branches of each scheme behind the middle rung under every exit rule and knob.

    In the table ``training, rule, knob`` name a row.
    """
    chosen = (behind(tree, middle_rung(parameters)) for tree in trees)
    swept = sweep_rules(chosen, features, cost, parameters)
    of_each = len(swept.table) // len(trees)
    swept.table.insert(1, "training", [tree.scheme for tree in trees for _ in range(of_each)])
    return swept


def by_rule(decisions: Decisions) -> pd.DataFrame:
    """What each scheme saves and loses under each rule and knob.

    Parameters
    ----------
    decisions : of ``under_rules``.

    Returns
    -------
    DataFrame
        ``training, rule, knob, valid_reduction, valid_drop, reduction, drop``, means of the seeds.
    """
    columns = ["training", "rule", "knob", "valid_reduction", "valid_drop", "reduction", "drop"]
    return mean_over_seeds(decisions.table)[columns]


def offers(decisions: Decisions, parameters: EvaluationParameters) -> pd.DataFrame:
    """What each scheme saves under each rule, as ``standings``; the rival is independent branches under CPM.

    Parameters
    ----------
    decisions : of ``under_rules``.

    Returns
    -------
    DataFrame
        As ``standings`` returns it, with ``rule`` in place of ``calibration``.
    """
    found = standings(in_cells(decisions), parameters, RIVAL)
    return found.rename(columns={"calibration": "rule"})


def in_cells(decisions: Decisions) -> Decisions:
    """Name decisions of ``under_rules`` so that a scheme with its rule is a cell of the comparisons."""
    return replace(decisions, table=decisions.table.rename(columns={"rule": "calibration"}))


def of_middle_drop(offered: pd.DataFrame) -> pd.DataFrame:
    """Of ``offers`` the rows of the middle one of the allowed drops."""
    drops = sorted(offered["max_drop"].unique())
    return offered[offered["max_drop"] == drops[len(drops) // 2]]


def best_offers(offered: pd.DataFrame) -> pd.DataFrame:
    """Of ``offers`` the row that saves most on valid, for each allowed drop that any row keeps there."""
    kept = offered.dropna(subset=["valid_reduction"])
    return kept.loc[kept.groupby("max_drop")["valid_reduction"].idxmax()]


def best_curves(tables: dict[str, pd.DataFrame], number: int = 5) -> pd.DataFrame:
    """Fronts of the schemes and rules that save most on valid for the middle one of the drops, and the paper's.

    Parameters
    ----------
    tables : ``offers``, and ``rules`` (see ``by_rule``).

    Returns
    -------
    DataFrame
        Rows of ``rules``, the best scheme and rule first, the paper's last; members picked on valid.
    """
    best = of_middle_drop(tables["offers"]).nlargest(number, "valid_reduction")
    pairs = dict.fromkeys([*zip(best["training"], best["rule"], strict=True), (BTS_EE.training, "CPM")])
    curves = tables["rules"].set_index(["training", "rule"])
    parts = [curves.loc[[pair]] for pair in pairs]
    parts = [rows[on_front(rows["valid_drop"], rows["valid_reduction"])] for rows in parts]
    return pd.concat(parts).reset_index()


def drop_at_equal_compute(curves: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Average the drop of each scheme and rule over the stretch of computation saved that all of them reach.

    Parameters
    ----------
    curves : of ``by_rule``.
    split : "test", or "valid" for what a choice may rest on.

    Returns
    -------
    DataFrame
        ``training, rule, drop`` in points; nan where there is no such stretch.
    """
    prefix = "valid_" if split == "valid" else ""
    reduction, drop = f"{prefix}reduction", f"{prefix}drop"
    cells = {key: rows.sort_values(reduction) for key, rows in curves.groupby(["training", "rule"], sort=False)}
    low = max(rows[reduction].min() for rows in cells.values())
    high = min(rows[reduction].max() for rows in cells.values())
    saved = np.linspace(low, high, 101) if low < high else np.full(1, np.nan)
    rows = [(*key, np.interp(saved, each[reduction], each[drop]).mean()) for key, each in cells.items()]
    return pd.DataFrame(rows, columns=["training", "rule", "drop"])
