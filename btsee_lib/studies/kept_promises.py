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
from btsee_lib.cost import CostModel
from btsee_lib.decisions import SplitResult, run_simulation
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
            fit, check = ([each[:, half] for each in outputs[name]] for half in (fitted_on, checked_on))
            thresholds = calibrate(*fit, valid.labels[fitted_on], margins, terms, SURVIVORS, rule)
            half = SplitFeatures((), valid.logits[checked_on], valid.labels[checked_on])
            found = run_simulation(*check, half, thresholds, cost)
            told = {"reduction": found.reduction, "drop": found.summary()["drop"]}
            rows.append({"rule": name, "cut": cut, **_kept(found, bars, terms.min_support), **told})
    return pd.DataFrame(rows)


def _kept(found: SplitResult, bars: Tensor, min_support: int) -> dict[str, float]:
    """How the precision of what leaves on one half compares with the bars (B, K)."""
    exits, right = found.exits, found.correct
    kept, together, short, left = [], [], 0.0, exits.exit < len(bars)
    for b, of_branch in enumerate(bars):
        leaving = right[exits.exit == b].double()
        if len(leaving) >= min_support:
            together.append(float(leaving.mean()) >= float(of_branch.nanmean()))
    for b, c in np.ndindex(bars.shape):
        mine = (exits.exit == b) & (exits.label == c)
        if mine.any():
            missing = float(bars[b, c] - right[mine].double().mean())
            short += missing * int(mine.sum())
            if mine.sum() >= min_support:
                kept.append(missing <= 0)
    return {
        "promises": len(kept),
        "kept": np.mean(kept) if kept else np.nan,
        "kept_together": np.mean(together) if together else np.nan,
        "shortfall": 100 * short / max(int(left.sum()), 1),
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
