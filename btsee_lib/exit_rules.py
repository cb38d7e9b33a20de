"""Does CPM keep its promise out of sample, and does it beat simpler rules at equal compute?

CPM promises a precision a class and branch. It is made on validation samples, so it has to be
checked on test samples. The two rules to compare it with have one threshold for all classes and
branches: on the confidence, and on the entropy (BranchyNet, arXiv 1709.01686).
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import Features, backbone_precision
from btsee_lib.calibration import calibrate, confidence_and_class, entropy, precision_above, precision_bars
from btsee_lib.cascade import simulate
from btsee_lib.comparison import Resamples, gain
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.evaluation import Decisions, Tally
from btsee_lib.uncertainty import ratio_interval, share_interval

KNOBS = {
    "CPM": (
        -0.2,
        -0.15,
        -0.12,
        -0.1,
        -0.08,
        -0.06,
        -0.05,
        -0.04,
        -0.03,
        -0.02,
        -0.015,
        -0.01,
        -0.005,
        0.0,
        0.01,
    ),
    "confidence": (0.9999, 0.999, 0.998, 0.995, 0.99, 0.98, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5),
    "entropy": (0.001, 0.005, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9, 1.1),
}


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


def promises(
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
        bars = precision_bars(precision, [margin] * len(nodes), limits.bar_ceiling)
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


def search_table(
    confidence: Tensor,
    predicted: Tensor,
    labels: Tensor,
    chosen: Sequence[int],
    classes: Sequence[str],
    bars: Tensor,
    thresholds: Tensor,
) -> pd.DataFrame:
    """Precision of the samples at or above each confidence, for the chosen classes, with bar and threshold."""
    parts = []
    for c in chosen:
        mine = predicted == c
        levels, precision, support = precision_above(confidence[mine], labels[mine] == c)
        columns = {"confidence": levels.numpy(), "precision": precision.numpy(), "support": support.numpy()}
        parts.append(
            pd.DataFrame(columns).assign(
                **{"class": classes[c], "bar": float(bars[c]), "threshold": float(thresholds[c])}
            )
        )
    return pd.concat(parts, ignore_index=True)


def threshold_table(thresholds: Tensor, classes: Sequence[str]) -> pd.DataFrame:
    """Lay thresholds (B, K) out as rows ``branch, class, threshold``."""
    rows = [
        (b, name, float(value))
        for b, row in enumerate(thresholds, start=1)
        for name, value in zip(classes, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["branch", "class", "threshold"])


def gain_over(
    averaged: pd.DataFrame, drawn: Resamples, rule: str, other: str, confidence: float = 0.95
) -> pd.DataFrame:
    """Accuracy that ``other`` gains over ``rule`` at equal compute, see ``comparison.gain``."""
    groups = [averaged.index[averaged["rule"] == name].to_numpy() for name in (rule, other)]
    return gain(averaged, drawn, *groups, confidence)


def sweep_rules(
    cascades: Iterable, features: Features, cost: CostModel, limits: BoostingParameters
) -> Decisions:
    """Run the independent branches under three rules, each with one knob turned through its range.

    Returns
    -------
    Decisions
        Its table has the columns ``seed, rule, knob`` and those of ``SplitResult.summary``.
    """
    tally = Tally(features, cost)
    for trained in cascades:
        nodes = trained.independent_rows()
        logits = {name: trained.logits[name][nodes] for name in trained.logits}
        for rule, knobs in KNOBS.items():
            said = {name: _certainty(rule, each) for name, each in logits.items()}
            for knob in knobs:
                thresholds = _thresholds(rule, knob, said["valid"], features, limits)
                tally.add({"seed": trained.seed, "rule": rule, "knob": knob}, said, thresholds)
    return tally.decisions()


def _certainty(rule: str, logits: Tensor) -> tuple[Tensor, Tensor]:
    confidence, predicted = confidence_and_class(logits)
    return (-entropy(logits) if rule == "entropy" else confidence), predicted


def _thresholds(
    rule: str, knob: float, said: tuple[Tensor, Tensor], features: Features, limits: BoostingParameters
) -> Tensor:
    number, classes = len(said[0]), features["valid"].logits.shape[1]
    if rule == "CPM":
        bars = precision_bars(backbone_precision(features), [knob] * number, limits.bar_ceiling)
        return calibrate(*said, features["valid"].labels, bars, limits.min_support, on="survivors")
    return torch.full((number, classes), -knob if rule == "entropy" else knob)
