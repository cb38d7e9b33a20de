"""Missed defects, false alarms and their cost, summed up and compared, with intervals over modules.

Cells of one module are alike, so intervals come from drawing modules. They hold for the networks at
hand: that other networks would have come of another training is not in them. A table of cells has a row
a cell: ``label, missed, alarm, saved, position``, what it is grouped by (``scheme``), and ``fold, seed``.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from btsee_lib.config import EvaluationParameters
from btsee_lib.uncertainty import image_weights, interval

FUNCTIONAL, DEFECTIVE = 0, 1
MEASURES = ("missed", "alarms", "precision", "balanced_accuracy", "accuracy", "cost", "saved")
UNCLEAR = "cannot be told apart"
PLACES = {"less": "below zero", UNCLEAR: "holds zero", "more": "above zero"}
COMPARED = ("missed", "alarms", "accuracy", "cost", "saved")


def summarise(
    cells: pd.DataFrame, module: np.ndarray, by: list[str], miss_cost: float, parameters: EvaluationParameters
) -> pd.DataFrame:
    """Measures of each group of cells, with bootstrap intervals over modules.

    Parameters
    ----------
    cells : cells of several seeds count as often.
    module : of each cell, int64 (all cells,), looked up by ``position``.
    by : columns that name a group.

    Returns
    -------
    DataFrame
        ``by``, then each of ``MEASURES`` with ``_low`` and ``_high``. ``missed`` is a share of the
        defective cells, ``alarms`` of the functional, ``precision`` of what is called defective.
    """
    rows = []
    for name, group in cells.groupby(by, sort=False):
        sums = _sums_by_module(group, module)
        weights = image_weights(len(sums), parameters.resamples, parameters.seed)
        measured = _measures(sums.sum(0)[None, :], miss_cost)
        drawn = _measures(weights @ sums, miss_cost)
        row = dict(zip(by, name, strict=True))
        for measure in MEASURES:
            low, high = interval(drawn[measure], parameters.confidence)
            row |= {measure: measured[measure][0], f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def differences(
    cells: pd.DataFrame,
    module: np.ndarray,
    pairs: Iterable[tuple[str, str]],
    miss_cost: float,
    parameters: EvaluationParameters,
) -> pd.DataFrame:
    """Second scheme less first, on the same draws of modules.

    Returns
    -------
    DataFrame
        ``scheme, less``, and each of ``COMPARED`` with ``_low`` and ``_high``.
    """
    rows = []
    for less, scheme in pairs:
        both = cells[cells["scheme"].isin((less, scheme))]
        drawn_from = np.unique(module[both["position"]])
        sums = [_sums_by_module(both[both["scheme"] == name], module, drawn_from) for name in (less, scheme)]
        weights = image_weights(len(drawn_from), parameters.resamples, parameters.seed)
        row = {"scheme": scheme, "less": less}
        for measure in COMPARED:
            before, after = (_measures(each.sum(0)[None, :], miss_cost)[measure] for each in sums)
            drawn = [_measures(weights @ each, miss_cost)[measure] for each in sums]
            low, high = interval(drawn[1] - drawn[0], parameters.confidence)
            row |= {measure: float(after[0] - before[0]), f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def without_fallbacks(cells: pd.DataFrame, choices: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """The cells of two schemes in the folds and seeds in which neither ran the backbone alone.

    Parameters
    ----------
    choices : a row a scheme, fold and seed, with ``m1`` nan where it fell back, see ``inspection.run_schemes``.
    """
    alone = choices[choices["scheme"].isin(pair) & choices["m1"].isna()]
    mine = cells[cells["scheme"].isin(pair)]
    left_out = [*zip(alone["fold"], alone["seed"], strict=True)]
    return mine[~pd.MultiIndex.from_frame(mine[["fold", "seed"]]).isin(left_out)]


def fallback_effect(
    cells: pd.DataFrame,
    choices: pd.DataFrame,
    module: np.ndarray,
    pairs: Iterable[tuple[str, str]],
    miss_cost: float,
    parameters: EvaluationParameters,
) -> pd.DataFrame:
    """Differences of pairs of schemes with and without the folds and seeds in which either fell back.

    Returns
    -------
    DataFrame
        Two rows a pair: ``over`` "all choices" or "both ran", the number of ``choices``, then those of
        ``differences``, nan where no choice is left.
    """
    parts = []
    for pair in pairs:
        both_ran = without_fallbacks(cells, choices, pair)
        for over, rows in (("all choices", cells), ("both ran", both_ran)):
            number = len(rows.loc[rows["scheme"] == pair[0], ["fold", "seed"]].drop_duplicates())
            found = (
                differences(rows, module, [pair], miss_cost, parameters)
                if number
                else pd.DataFrame({"scheme": [pair[1]], "less": [pair[0]]})
            )
            parts.append(found.assign(over=over, choices=number))
    table = pd.concat(parts, ignore_index=True)
    return table[["scheme", "less", "over", "choices", *_with_ends(COMPARED)]]


def direction(low: float, high: float) -> str:
    """What an interval of a difference shows: "more", "less", or that zero is in it."""
    if low > 0:
        return "more"
    return "less" if high < 0 else UNCLEAR


def told(table: pd.DataFrame, measures: Sequence[str] = COMPARED) -> str:
    """Say ``differences`` in lines: in points, with the interval and what it shows."""
    lines = []
    for _, row in table.iterrows():
        lines.append(f"{row['scheme']}, less {row['less']}:")
        for name in measures:
            value, low, high = (100 * row[name + end] for end in ("", "_low", "_high"))
            unit = "a 100 cells" if name == "cost" else "points"
            reach = f"({low:+.1f} to {high:+.1f})"
            lines.append(f"  {name:9}{value:+6.1f} {unit:12}{reach:18}{direction(low, high)}")
    return "\n".join(lines)


def count_directions(table: pd.DataFrame, measures: Sequence[str] = COMPARED) -> pd.DataFrame:
    """In how many rows of ``differences`` each measure has which direction.

    Returns
    -------
    DataFrame
        ``scheme, less, measure``, and for how many rows the interval lies ``below zero``, ``holds zero``
        and lies ``above zero``.
    """
    rows = []
    for (scheme, less), group in table.groupby(["scheme", "less"], sort=False):
        for name in measures:
            words = [direction(*ends) for ends in group[[f"{name}_low", f"{name}_high"]].to_numpy()]
            counted = {column: words.count(word) for word, column in PLACES.items()}
            rows.append({"scheme": scheme, "less": less, "measure": name, **counted})
    return pd.DataFrame(rows)


def _with_ends(measures: Sequence[str]) -> list[str]:
    return [measure + end for measure in measures for end in ("", "_low", "_high")]


def _sums_by_module(
    cells: pd.DataFrame, module: np.ndarray, drawn_from: np.ndarray | None = None
) -> np.ndarray:
    """Cells, defects, missed, alarms and saved of each module: float64 (modules, 5).

    Parameters
    ----------
    drawn_from : the modules, also those without a cell here; by default those with one.
    """
    counted = pd.DataFrame(
        {
            "cells": 1.0,
            "defects": (cells["label"] == DEFECTIVE).astype(float),
            **cells[["missed", "alarm", "saved"]],
        }
    )
    sums = counted.groupby(module[cells["position"]]).sum()
    return (sums if drawn_from is None else sums.reindex(drawn_from, fill_value=0.0)).to_numpy()


def _measures(sums: np.ndarray, miss_cost: float) -> dict[str, np.ndarray]:
    cells, defects, missed, alarm, saved = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        found = defects - missed
        missing, alarms = missed / defects, alarm / (cells - defects)
        return {
            "missed": missing,
            "alarms": alarms,
            "precision": found / (found + alarm),
            "balanced_accuracy": 1 - (missing + alarms) / 2,
            "accuracy": 1 - (missed + alarm) / cells,
            "cost": (miss_cost * missed + alarm) / cells,
            "saved": saved / cells,
        }
