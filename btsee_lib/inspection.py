"""What inspection cares for: missed defects, false alarms, and what both cost, cell by cell.

A *missed* defect is a defective cell that is called functional; a false *alarm* a functional cell
that is called defective. Cells of one module are alike, so intervals come from drawing modules. They hold
for the networks at hand: that other networks would have come of another training is not in them.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import backbone_precision, configurations
from btsee_lib.calibration import calibrate, confidence_and_class, precision_bars
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.config import Evaluation
from btsee_lib.decisions import SplitResult, run_simulation
from btsee_lib.evaluation import BASELINE, BTS_EE, calibrated
from btsee_lib.features import SplitFeatures
from btsee_lib.folds import EQUAL, UNEQUAL, Fold, margin_kinds
from btsee_lib.uncertainty import image_weights, interval

FUNCTIONAL, DEFECTIVE = 0, 1
BACKBONE = "backbone"
SCHEMES = {
    "baseline, equal margins": (BASELINE, EQUAL),
    "baseline, unequal margins": (BASELINE, UNEQUAL),
    "BTS-EE, equal margins": (BTS_EE, EQUAL),
    "BTS-EE, unequal margins": (BTS_EE, UNEQUAL),
}
MEASURES = ("missed", "alarms", "precision", "balanced_accuracy", "accuracy", "cost", "saved")
UNCLEAR = "cannot be told apart"
PLACES = {"less": "below zero", UNCLEAR: "holds zero", "more": "above zero"}
COMPARED = ("missed", "alarms", "accuracy", "cost", "saved")


def mistakes(said: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Which cells are missed defects and which false alarms, float64 (N,) each."""
    wrong = said != labels
    return {
        "missed": (wrong & (labels == DEFECTIVE)).double().numpy(),
        "alarm": (wrong & (labels == FUNCTIONAL)).double().numpy(),
    }


def cost_a_cell(missed: np.ndarray, alarm: np.ndarray, miss_cost: float) -> float:
    """Mean cost of a cell in false alarms: a missed defect costs as much as ``miss_cost`` of them."""
    return float((miss_cost * missed + alarm).mean())


def outcomes(said: Tensor, split: SplitFeatures, saved: np.ndarray | float = 0.0) -> pd.DataFrame:
    """One row a cell: ``label, missed, alarm`` and ``saved``, the share of the backbone's MACs."""
    return pd.DataFrame({"label": split.labels.numpy(), **mistakes(said, split.labels), "saved": saved})


def bare_answers(folds: Iterable[Fold]) -> pd.DataFrame:
    """What the backbone alone says of every test cell, and two answers that need no network.

    Returns
    -------
    DataFrame
        A row a ``scheme``, ``fold`` and cell, see ``outcomes``, with its ``position``.
    """
    parts = []
    for fold in folds:
        test = fold.features["test"]
        answers = {
            "always functional": torch.full_like(test.labels, FUNCTIONAL),
            "always defective": torch.full_like(test.labels, DEFECTIVE),
            BACKBONE: test.predicted,
        }
        parts += [
            outcomes(said, test).assign(scheme=name, fold=fold.number, position=fold.test)
            for name, said in answers.items()
        ]
    return pd.concat(parts, ignore_index=True)


def chosen_on_valid(
    fold: Fold, scheme: str, seed: int, miss_cost: float
) -> tuple[tuple[float, ...] | None, SplitResult | None]:
    """The configuration that saves most on valid among those whose mistakes cost no more than the backbone's.

    Returns
    -------
    Its margins, and what it does on test; None and None if every configuration costs more.
    """
    cell, kind = SCHEMES[scheme]
    limits = margin_kinds()[kind]
    trained = next(each for each in fold.cascades[kind] if each.seed == seed)
    said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
    valid = fold.features["valid"]
    allowed = cost_a_cell(**mistakes(valid.predicted, valid.labels), miss_cost=miss_cost)
    best, margins, thresholds = 0.0, None, None
    for candidate in configurations(limits):
        chosen, found = calibrated(trained, cell, candidate, said, fold.features, limits)
        result = run_simulation(*chosen["valid"], valid, found, fold.cost)
        cost = cost_a_cell(**mistakes(result.exits.label, valid.labels), miss_cost=miss_cost)
        if cost <= allowed and result.reduction > best:
            best, margins, thresholds = result.reduction, candidate, found
    if margins is None:
        return None, None
    nodes = trained.rows(cell[0], margins)
    on_test = (each[nodes] for each in said["test"])
    return margins, run_simulation(*on_test, fold.features["test"], thresholds, fold.cost)


def run_schemes(folds: Iterable[Fold], miss_cost: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose each scheme's configuration on valid, fold by fold and seed by seed, and run it on test.

    Returns
    -------
    cells : a row a scheme, seed and cell (see ``outcomes``), with its ``fold`` and ``position``; the bare
        backbone, which has no seeds, is the scheme "backbone".
    choices : a row a scheme, fold and seed: ``m1, m2, m3``, nan where the backbone runs alone.
    """
    parts, choices = [], []
    for fold in folds:
        test = fold.features["test"]
        alone = outcomes(test.predicted, test)
        parts.append(alone.assign(scheme=BACKBONE, fold=fold.number, seed=np.nan, position=fold.test))
        for scheme, (_, kind) in SCHEMES.items():
            for seed in (each.seed for each in fold.cascades[kind]):
                margins, result = chosen_on_valid(fold, scheme, seed, miss_cost)
                one = alone if result is None else _of_result(result, fold)
                parts.append(one.assign(scheme=scheme, fold=fold.number, seed=seed, position=fold.test))
                named = dict(zip(("m1", "m2", "m3"), margins or 3 * (np.nan,), strict=True))
                choices.append({"scheme": scheme, "fold": fold.number, "seed": seed, **named})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(choices)


def _of_result(result: SplitResult, fold: Fold) -> pd.DataFrame:
    saved = 1 - result.macs.double().numpy() / fold.cost.backbone
    return outcomes(result.exits.label, fold.features["test"], saved)


def count_fallbacks(choices: pd.DataFrame) -> pd.DataFrame:
    """How often no configuration passed on valid, so that the backbone ran alone.

    Returns
    -------
    DataFrame
        ``scheme, choices, fallbacks``; a choice is a fold and seed.
    """
    alone = choices["m1"].isna().groupby(choices["scheme"], sort=False)
    return alone.agg(choices="size", fallbacks="sum").reset_index()


def without_fallbacks(cells: pd.DataFrame, choices: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """The cells of two schemes in the folds and seeds in which neither ran the backbone alone.

    Parameters
    ----------
    cells, choices : see ``run_schemes``.
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
    wanted: Evaluation,
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
                differences(rows, module, [pair], miss_cost, wanted)
                if number
                else pd.DataFrame({"scheme": [pair[1]], "less": [pair[0]]})
            )
            parts.append(found.assign(over=over, choices=number))
    table = pd.concat(parts, ignore_index=True)
    return table[["scheme", "less", "over", "choices", *_with_ends(COMPARED)]]


def sweep_margins(folds: Iterable[Fold], knobs: Sequence[float]) -> pd.DataFrame:
    """Turn one margin for all branches through ``knobs``, with and without margins of the classes.

    The independent branches of all seeds, calibrated on survivors.

    Returns
    -------
    DataFrame
        A row a kind of margins, knob, seed and test cell, see ``outcomes``; ``scheme`` is "equal" or
        "unequal".
    """
    parts = [
        one.assign(scheme=kind, knob=knob, position=fold.test)
        for fold in folds
        for kind, limits in margin_kinds().items()
        for knob, one in _swept(fold, limits, knobs)
    ]
    return pd.concat(parts, ignore_index=True)


def _swept(
    fold: Fold, limits: BoostingParameters, knobs: Sequence[float]
) -> Iterator[tuple[float, pd.DataFrame]]:
    precision, valid = backbone_precision(fold.features), fold.features["valid"]
    for trained in fold.cascades[EQUAL]:  # independent branches do not depend on margins
        nodes = trained.independent_rows()
        said = {name: confidence_and_class(logits[nodes]) for name, logits in trained.logits.items()}
        for knob in knobs:
            bars = precision_bars(precision, [knob] * len(nodes), limits.bar_ceiling, limits.class_margins)
            thresholds = calibrate(*said["valid"], valid.labels, bars, limits.min_support, "survivors")
            result = run_simulation(*said["test"], fold.features["test"], thresholds, fold.cost)
            yield knob, _of_result(result, fold)


def summarise(
    cells: pd.DataFrame, module: np.ndarray, by: list[str], miss_cost: float, wanted: Evaluation
) -> pd.DataFrame:
    """Measures of each group of cells, with bootstrap intervals over modules.

    Parameters
    ----------
    cells : see ``run_schemes``; cells of several seeds count as often.
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
        weights = image_weights(len(sums), wanted.resamples, wanted.seed)
        measured = _measures(sums.sum(0)[None, :], miss_cost)
        drawn = _measures(weights @ sums, miss_cost)
        row = dict(zip(by, name, strict=True))
        for measure in MEASURES:
            low, high = interval(drawn[measure], wanted.confidence)
            row |= {measure: measured[measure][0], f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def differences(
    cells: pd.DataFrame,
    module: np.ndarray,
    pairs: Iterable[tuple[str, str]],
    miss_cost: float,
    wanted: Evaluation,
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
        weights = image_weights(len(drawn_from), wanted.resamples, wanted.seed)
        row = {"scheme": scheme, "less": less}
        for measure in COMPARED:
            before, after = (_measures(each.sum(0)[None, :], miss_cost)[measure] for each in sums)
            drawn = [_measures(weights @ each, miss_cost)[measure] for each in sums]
            low, high = interval(drawn[1] - drawn[0], wanted.confidence)
            row |= {measure: float(after[0] - before[0]), f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


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
