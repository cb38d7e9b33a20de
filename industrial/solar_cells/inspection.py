"""What inspection cares for: missed defects, false alarms, and what both cost, cell by cell.

A *missed* defect is a defective cell that is called functional; a false *alarm* a functional cell
that is called defective. ``module_intervals`` sums them up.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import calibration_terms, configurations
from btsee_lib.calibration import SURVIVORS
from btsee_lib.config import BoostingParameters
from btsee_lib.decisions import SplitResult, run_simulation
from btsee_lib.evaluation import BASELINE, BTS_EE, Calibrator
from btsee_lib.features import SplitFeatures
from btsee_lib.trees import margin_names
from solar_cells.folds import EQUAL, UNEQUAL, Fold, margin_kinds
from solar_cells.module_intervals import DEFECTIVE, FUNCTIONAL

BACKBONE = "backbone"
SCHEMES = {
    "baseline, equal margins": (BASELINE, EQUAL),
    "baseline, unequal margins": (BASELINE, UNEQUAL),
    "BTS-EE, equal margins": (BTS_EE, EQUAL),
    "BTS-EE, unequal margins": (BTS_EE, UNEQUAL),
}


def mistakes(predicted: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Which cells are missed defects and which false alarms, float64 (N,) each."""
    wrong = predicted != labels
    return {
        "missed": (wrong & (labels == DEFECTIVE)).double().numpy(),
        "alarm": (wrong & (labels == FUNCTIONAL)).double().numpy(),
    }


def cost_a_cell(missed: np.ndarray, alarm: np.ndarray, miss_cost: float) -> float:
    """Mean cost of a cell in false alarms: a missed defect costs as much as ``miss_cost`` of them."""
    return float((miss_cost * missed + alarm).mean())


def outcomes(predicted: Tensor, split: SplitFeatures, saved: np.ndarray | float = 0.0) -> pd.DataFrame:
    """One row a cell: ``label, missed, alarm`` and ``saved``, the share of the backbone's MACs."""
    found = mistakes(predicted, split.labels)
    return pd.DataFrame({"label": split.labels.numpy(), **found, "saved": saved})


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
            outcomes(predicted, test).assign(scheme=name, fold=fold.number, position=fold.test)
            for name, predicted in answers.items()
        ]
    return pd.concat(parts, ignore_index=True)


def chosen_on_valid(
    fold: Fold, scheme: str, seed: int, parameters: BoostingParameters, miss_cost: float
) -> tuple[tuple[float, ...] | None, SplitResult | None]:
    """The configuration that saves most on valid among those whose mistakes cost no more than the backbone's.

    Parameters
    ----------
    scheme : one of ``SCHEMES``.

    Returns
    -------
    Its margins, and what it does on test; None and None if every configuration costs more.
    """
    cell, kind = SCHEMES[scheme]
    tree = next(tree for tree in fold.trees[kind, cell.training] if tree.seed == seed)
    terms = calibration_terms(fold.features, margin_kinds(parameters)[kind])
    calibrator = Calibrator(tree, fold.features, terms)
    valid = fold.features["valid"]
    allowed = cost_a_cell(**mistakes(valid.predicted, valid.labels), miss_cost=miss_cost)
    best, margins, chosen = 0.0, None, None
    for candidate in configurations(parameters):
        outputs, thresholds = calibrator.calibrated(candidate, cell.calibration)
        result = run_simulation(*outputs["valid"], valid, thresholds, fold.cost)
        cost = cost_a_cell(**mistakes(result.exits.label, valid.labels), miss_cost=miss_cost)
        if cost <= allowed and result.reduction > best:
            best, margins, chosen = result.reduction, candidate, (outputs["test"], thresholds)
    if chosen is None:
        return None, None
    on_test, thresholds = chosen
    return margins, run_simulation(*on_test, fold.features["test"], thresholds, fold.cost)


def run_schemes(
    folds: Iterable[Fold], parameters: BoostingParameters, miss_cost: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
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
        for scheme, seed in itertools.product(SCHEMES, parameters.seeds):
            margins, result = chosen_on_valid(fold, scheme, seed, parameters, miss_cost)
            one = alone if result is None else _of_result(result, fold)
            parts.append(one.assign(scheme=scheme, fold=fold.number, seed=seed, position=fold.test))
            named = margin_names(margins or [np.nan] * len(parameters.margins))
            choices.append({"scheme": scheme, "fold": fold.number, "seed": seed, **named})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(choices)


def _of_result(result: SplitResult, fold: Fold) -> pd.DataFrame:
    saved = 1 - result.cost.double().numpy() / fold.cost.backbone
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


def sweep_margins(
    folds: Iterable[Fold], parameters: BoostingParameters, knobs: Sequence[float]
) -> pd.DataFrame:
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
        for kind, of_kind in margin_kinds(parameters).items()
        for knob, one in _swept(fold, of_kind, knobs)
    ]
    return pd.concat(parts, ignore_index=True)


def _swept(
    fold: Fold, parameters: BoostingParameters, knobs: Sequence[float]
) -> Iterator[tuple[float, pd.DataFrame]]:
    terms = calibration_terms(fold.features, parameters)
    for tree in fold.trees[EQUAL, BASELINE.training]:  # independent branches do not depend on margins
        calibrator = Calibrator(tree, fold.features, terms)
        for knob in knobs:
            outputs, thresholds = calibrator.calibrated([knob] * len(fold.cost.branches), SURVIVORS)
            result = run_simulation(*outputs["test"], fold.features["test"], thresholds, fold.cost)
            yield knob, _of_result(result, fold)
