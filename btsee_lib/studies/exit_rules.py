"""Does CPM beat simpler rules at equal compute?

The two rules to compare it with have one threshold for all classes and branches: on the confidence,
and on the entropy (BranchyNet, arXiv 1709.01686).
"""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import Features, backbone_precision
from btsee_lib.calibration import calibrate, confidence_and_class, entropy, precision_above, precision_bars
from btsee_lib.studies.comparison import Resamples, gain
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions, Tally

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
        bars = precision_bars(
            backbone_precision(features), [knob] * number, limits.bar_ceiling, limits.class_margins
        )
        return calibrate(*said, features["valid"].labels, bars, limits.min_support, on="survivors")
    return torch.full((number, classes), -knob if rule == "entropy" else knob)
