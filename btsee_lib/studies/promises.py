"""Does CPM keep its promise out of sample?

It promises a precision a class and branch. The promise is made on validation samples, so it has to
be checked on test samples.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import calibration_terms
from btsee_lib.calibration import CALIBRATIONS
from btsee_lib.cascade import simulate
from btsee_lib.config import BoostingParameters
from btsee_lib.evaluation import Calibrator
from btsee_lib.features import Features
from btsee_lib.trees import BranchTree
from btsee_lib.uncertainty import ratio_interval, share_interval

PROMISE = "seed calibration margin branch class_number bar exits precision low high at_ceiling broken".split()


@dataclass(frozen=True)
class Promises:
    """How the precision of what leaves on test compares with the bar that was met on valid.

    ``table`` has one row a seed, calibration, margin, branch and class with exits: ``class_number``, ``bar``,
    ``exits`` (test samples that leave there as that class), ``precision`` with ``low`` and ``high`` (Wilson),
    ``at_ceiling`` (the bar is the ceiling: one mistake misses it), and ``broken`` (the bar is below
    the ceiling and above the interval). ``missing`` and ``exits``, for each calibration and branch,
    are float64 (N,): for every test image its exits there, and by how much they miss their bars.
    """

    table: pd.DataFrame
    missing: dict[tuple[str, int], np.ndarray]
    exits: dict[tuple[str, int], np.ndarray]


def check_promises(
    trees: Iterable[BranchTree],
    features: Features,
    parameters: BoostingParameters,
    configurations: Iterable[Sequence[float]],
) -> Promises:
    """Calibrate the branches of trees, once on all of valid and once on survivors, and look at test.

    Parameters
    ----------
    configurations : a margin a branch each.
    """
    test, terms = features["test"], calibration_terms(features, parameters)
    rows, missing, counts = [], {}, {}
    for tree in trees:
        calibrator = Calibrator(tree, features, terms)
        for margins, calibration in itertools.product(configurations, CALIBRATIONS):
            outputs, thresholds = calibrator.calibrated(margins, calibration)
            exits = simulate(*outputs["test"], test.predicted, thresholds)
            right = exits.label == test.labels
            for number, margin in enumerate(margins, start=1):
                bars = terms.bars(margin)
                here, key = exits.exit == number - 1, (calibration, number)
                # Only where a sample leaves: the bar of a class that never does may be nan.
                short = torch.where(here, bars[exits.label] - right.double(), 0.0)
                missing[key] = missing.get(key, 0) + short.numpy()
                counts[key] = counts.get(key, 0) + here.double().numpy()
                kept = _kept(exits.label[here], right[here], bars, parameters.bar_ceiling)
                rows += [(tree.seed, calibration, margin, number, *row) for row in kept]
    return Promises(pd.DataFrame(rows, columns=PROMISE), missing, counts)


def _kept(label: Tensor, right: Tensor, bars: Tensor, ceiling: float) -> list[tuple]:
    """Compare what left one branch with the bars of its classes: the columns from ``class_number`` on."""
    rows = []
    for c, bar in enumerate(bars.tolist()):
        number, hits = int((label == c).sum()), int(right[label == c].sum())
        if number:
            low, high = share_interval(hits, number)
            is_broken = high < bar < ceiling
            rows.append((c, bar, number, hits / number, low, high, bar >= ceiling, is_broken))
    return rows


def promise_summary(promises: Promises) -> pd.DataFrame:
    """Average the promises of each calibration: for each branch, for branches 2 and 3, and for all.

    Returns
    -------
    DataFrame
        ``calibration, branches, shortfall`` (points below the bar, averaged over all that leaves) with
        a bootstrap interval over test images, and ``broken`` (share of the bars below the ceiling).
    """
    below_ceiling = promises.table[~promises.table["at_ceiling"].astype(bool)]
    numbers = sorted({branch for _, branch in promises.exits})
    groups = {str(b): [b] for b in numbers} | {"later": numbers[1:], "all": numbers}
    rows = []
    for calibration, (name, members) in itertools.product(CALIBRATIONS, groups.items()):
        keys = [(calibration, b) for b in members]
        missing, exits = (sum(of[key] for key in keys) for of in (promises.missing, promises.exits))
        low, high = ratio_interval(missing, exits)
        of_branches = below_ceiling[below_ceiling["branch"].isin(members)]
        broken = of_branches.loc[of_branches["calibration"] == calibration, "broken"].mean()
        shortfall = 100 * missing.sum() / max(exits.sum(), 1)
        rows.append((calibration, name, shortfall, 100 * low, 100 * high, broken))
    columns = "calibration branches shortfall shortfall_low shortfall_high broken".split()
    return pd.DataFrame(rows, columns=columns)
