"""Does CPM beat simpler rules at equal compute? Every rule of ``exit_rules.EXIT_RULES`` is swept."""

import itertools
from collections.abc import Iterable, Sequence

import pandas as pd
from torch import Tensor

from btsee_lib.boosting import calibration_terms
from btsee_lib.calibration import ExitRule, precision_above
from btsee_lib.config import BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions, Tally
from btsee_lib.evaluation import Calibrator
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.features import Features
from btsee_lib.studies.comparison import Resamples, gain
from btsee_lib.trees import BranchTree


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
        found = {"class": classes[c], "bar": float(bars[c]), "threshold": float(thresholds[c])}
        parts.append(pd.DataFrame(columns).assign(**found))
    return pd.concat(parts, ignore_index=True)


def threshold_table(thresholds: Tensor, classes: Sequence[str]) -> pd.DataFrame:
    """Lay thresholds (B, K) out as rows ``branch, class, threshold``."""
    branches = pd.RangeIndex(1, len(thresholds) + 1, name="branch")
    grid = pd.DataFrame(thresholds.double().numpy(), branches, pd.Index(classes, name="class"))
    return grid.stack().rename("threshold").reset_index()


def gain_over(
    averaged: pd.DataFrame, drawn: Resamples, rule: str, other: str, confidence: float = 0.95
) -> pd.DataFrame:
    """Accuracy that ``other`` gains over ``rule`` at equal compute, see ``comparison.gain``."""
    groups = [averaged.index[averaged["rule"] == name].to_numpy() for name in (rule, other)]
    return gain(averaged, drawn, *groups, confidence)


def sweep_rules(
    trees: Iterable[BranchTree],
    features: Features,
    cost: CostModel,
    parameters: BoostingParameters,
    rules: dict[str, ExitRule] = EXIT_RULES,
) -> Decisions:
    """Run the branches of trees under several rules, the knob of each turned through its range.

    Returns
    -------
    Decisions
        Its table has the columns ``seed, rule, knob`` and those of ``SplitResult.summary``.
    """
    tally, terms = Tally(features, cost), calibration_terms(features, parameters)
    for tree, (name, rule) in itertools.product(trees, rules.items()):
        calibrator = Calibrator(tree, features, terms, rule)
        for knob in rule.knobs:
            chosen = calibrator.calibrated([knob] * len(cost.branches))
            tally.add({"seed": tree.seed, "rule": name, "knob": knob}, *chosen)
    return tally.decisions()
