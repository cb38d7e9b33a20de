"""How often is the promise of a rule kept on images that it was not fitted on, and what does that cost?

The validation split is cut in two halves at random, again and again: thresholds are fitted on one half and
checked on the other. The test split has no part in it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.calibration import SURVIVORS, ExitRule, Terms, calibrate
from btsee_lib.cascade import simulate
from btsee_lib.cost import CostModel
from btsee_lib.exit_rules import PROMISING
from btsee_lib.features import SplitFeatures
from btsee_lib.uncertainty import interval


def kept_promises(
    logits: Tensor,
    valid: SplitFeatures,
    margins: Sequence[float],
    terms: Terms,
    cost: CostModel,
    rules: Mapping[str, ExitRule] = PROMISING,
    cuts: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit each rule on one half of valid and check it on the other, ``cuts`` times, all on the same halves.

    Parameters
    ----------
    logits : of the branches on valid, (B, N, K).
    margins : one a branch.

    Returns
    -------
    DataFrame
        A row a rule and cut: ``rule, cut``; ``promises`` (classes and branches with at least ``min_support``
        exits on the other half), the share of them ``kept`` (precision there at least the bar), the share of
        branches ``kept_together`` (precision of all that leaves there at least the mean bar), ``shortfall``
        (points below the bar, averaged over all that leaves; negative: above), ``reduction`` (share), ``drop``
        (points).
    """
    generator = torch.Generator().manual_seed(seed)
    bars = torch.stack([terms.bars(margin) for margin in margins])
    outputs = {name: rule.outputs(logits) for name, rule in rules.items()}
    rows = []
    for cut in range(cuts):
        order = torch.randperm(len(valid), generator=generator)
        fitted_on, checked_on = order.chunk(2)
        for name, rule in rules.items():
            sure, named = outputs[name]
            fit = (sure[:, fitted_on], named[:, fitted_on], valid.labels[fitted_on])
            thresholds = calibrate(*fit, margins, terms, SURVIVORS, rule)
            found = _checked(
                sure[:, checked_on], named[:, checked_on], valid, checked_on, thresholds, bars, terms, cost
            )
            rows.append({"rule": name, "cut": cut, **found})
    return pd.DataFrame(rows)


def _checked(
    sure: Tensor,
    named: Tensor,
    valid: SplitFeatures,
    here: Tensor,
    thresholds: Tensor,
    bars: Tensor,
    terms: Terms,
    cost: CostModel,
) -> dict[str, float]:
    """What a cascade does with the samples of one half."""
    labels, last = valid.labels[here], valid.predicted[here]
    exits = simulate(sure, named, last, thresholds)
    right, branches = exits.label == labels, len(thresholds)
    kept, short, left = [], 0.0, exits.exit < branches
    precisions = [right[exits.exit == b].double() for b in range(branches)]
    together = [
        float(each.mean()) >= float(bars[b].nanmean())
        for b, each in enumerate(precisions)
        if len(each) >= terms.min_support
    ]
    for b, c in np.ndindex(bars.shape):
        mine = (exits.exit == b) & (exits.label == c)
        if mine.any():
            missing = float(bars[b, c] - right[mine].double().mean())
            short += missing * int(mine.sum())
            if mine.sum() >= terms.min_support:
                kept.append(missing <= 0)
    return {
        "promises": len(kept),
        "kept": np.mean(kept) if kept else np.nan,
        "kept_together": np.mean(together) if together else np.nan,
        "shortfall": 100 * short / max(int(left.sum()), 1),
        "reduction": cost.reduction(exits.exit, thresholds),
        "drop": 100 * float((last == labels).double().mean() - right.double().mean()),
    }


def summary(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean over the cuts of each rule, and the interval that holds a share ``confidence`` of the cuts.

    Returns
    -------
    DataFrame
        ``rule``, and ``kept, kept_together, shortfall, reduction, drop`` with ``.._low, .._high``;
        ``saved_less``: by how many points of per cent the reduction lies below that of the first rule on the
        same half.
    """
    first = table[table["rule"] == table["rule"].iloc[0]].set_index("cut")["reduction"]
    table = table.assign(saved_less=100 * (table["cut"].map(first) - table["reduction"]))
    rows = []
    for rule, mine in table.groupby("rule", sort=False):
        row = {"rule": rule}
        for name in ("kept", "kept_together", "shortfall", "reduction", "drop", "saved_less"):
            low, high = interval(mine[name].to_numpy(), confidence)
            row |= {name: mine[name].mean(), f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
