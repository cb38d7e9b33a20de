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

from btsee_lib.boosting import Features, backbone_precision
from btsee_lib.calibration import calibrate, confidence_and_class, precision_bars
from btsee_lib.cascade import simulate
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.uncertainty import ratio_interval, share_interval


@dataclass(frozen=True)
class Promises:
    """How the precision of what leaves on test compares with the bar that was met on valid.

    ``table`` has one row a seed, calibration, margin, branch and class with exits: ``bar``, ``exits``
    (test samples that leave there as that class), ``precision`` with ``low`` and ``high`` (Wilson),
    ``at_ceiling`` (the bar is the ceiling: one mistake misses it), and ``broken`` (the bar is below
    the ceiling and above the interval). ``missing`` and ``exits``, for each calibration and branch,
    are float64 (N,): for every test image its exits there, and by how much they miss their bars.
    """

    table: pd.DataFrame
    missing: dict[tuple[str, int], np.ndarray]
    exits: dict[tuple[str, int], np.ndarray]


def check_promises(
    cascades: Iterable, features: Features, limits: BoostingParameters, margins: Sequence[float]
) -> Promises:
    """Calibrate the independent branches, once on all of valid and once on survivors, and look at test.

    Parameters
    ----------
    margins : each is used for all three branches at once.
    """
    test, precision = features["test"], backbone_precision(features)
    rows, missing, counts = [], {}, {}
    for trained, margin, calibration in itertools.product(cascades, margins, ("full", "survivors")):
        nodes = trained.independent_rows()
        said = {name: confidence_and_class(trained.logits[name][nodes]) for name in trained.logits}
        bars = precision_bars(precision, [margin] * len(nodes), limits.bar_ceiling, limits.class_margins)
        thresholds = calibrate(*said["valid"], features["valid"].labels, bars, limits.min_support, calibration)
        exits = simulate(*said["test"], test.predicted, thresholds)
        right = exits.label == test.labels
        for b in range(len(nodes)):
            here, key = exits.exit == b, (calibration, b + 1)
            # Only where a sample leaves: the bar of a class that never does may be nan.
            short = torch.where(here, bars[b][exits.label] - right.double(), 0.0)
            missing[key] = missing.get(key, 0) + short.numpy()
            counts[key] = counts.get(key, 0) + here.double().numpy()
            names = {"seed": trained.seed, "calibration": calibration, "margin": margin, "branch": b + 1}
            rows += [
                names | row
                for row in _kept(exits.label[exits.exit == b], right[exits.exit == b], bars[b], limits)
            ]
    return Promises(pd.DataFrame(rows), missing, counts)


def _kept(label: Tensor, right: Tensor, bars: Tensor, limits: BoostingParameters) -> list[dict]:
    """Compare what left one branch with the bars of its classes."""
    rows = []
    for c, bar in enumerate(bars.tolist()):
        number, hits = int((label == c).sum()), int(right[label == c].sum())
        if number:
            low, high = share_interval(hits, number)
            at_ceiling = bar >= limits.bar_ceiling
            row = {
                "class": c,
                "bar": bar,
                "exits": number,
                "precision": hits / number,
                "low": low,
                "high": high,
            }
            rows.append(row | {"at_ceiling": at_ceiling, "broken": high < bar and not at_ceiling})
    return rows


def promise_summary(promises: Promises) -> pd.DataFrame:
    """Average the promises of each calibration: for each branch, for branches 2 and 3, and for all.

    Returns
    -------
    DataFrame
        ``calibration, branches, shortfall`` (points below the bar, averaged over all that leaves) with
        a bootstrap interval over test images, and ``broken`` (share of the bars below the ceiling).
    """
    table = promises.table
    numbers = sorted(table["branch"].unique())
    groups = {str(b): [b] for b in numbers} | {"later": numbers[1:], "all": numbers}
    rows = []
    for calibration, (name, members) in itertools.product(("full", "survivors"), groups.items()):
        keys = [(calibration, b) for b in members]
        missing, exits = (sum(of[key] for key in keys) for of in (promises.missing, promises.exits))
        low, high = ratio_interval(missing, exits)
        mine = table[
            (table["calibration"] == calibration) & table["branch"].isin(members) & ~table["at_ceiling"]
        ]
        rows.append(
            {
                "calibration": calibration,
                "branches": name,
                "shortfall": 100 * missing.sum() / max(exits.sum(), 1),
                "shortfall_low": 100 * low,
                "shortfall_high": 100 * high,
                "broken": mine["broken"].mean(),
            }
        )
    return pd.DataFrame(rows)
