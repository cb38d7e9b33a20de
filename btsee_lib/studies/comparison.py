"""Comparing configurations: paired, at equal compute, with intervals from one bootstrap for all.

A resample draws test images, and seeds, with replacement, and applies the same draw to every
configuration and to the backbone. What two configurations have in common therefore cancels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import (
    BASELINE,
    TIE,
    cells_of,
    configuration_columns,
    distance_to_front,
    drop_at,
    fronts,
    of_cell,
    sign_test,
)
from btsee_lib.uncertainty import image_weights, interval


@dataclass(frozen=True)
class Resamples:
    """``drop`` (points) and ``reduction`` (share), both (resamples, configurations).

    The columns are the rows of ``mean_over_seeds`` of the table they were drawn from, in order.
    """

    drop: np.ndarray
    reduction: np.ndarray


def bootstrap(decisions: Decisions, resamples: int, seed: int) -> Resamples:
    """Draw images and seeds ``resamples`` times, and average each configuration over each draw."""
    images = decisions.correct.shape[1]
    seeds = decisions.table["seed"].unique()
    per_seed = len(decisions.table) // len(seeds)
    weights = (image_weights(images, resamples, seed) / images).astype(np.float32)
    generator = np.random.default_rng([seed, len(seeds)])
    seed_weights = generator.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), resamples) / len(
        seeds
    )
    backbone = weights @ decisions.backbone_correct.astype(np.float32)

    def averaged(values: np.ndarray) -> np.ndarray:
        by_row = weights @ values.T.astype(np.float32)
        by_seed = by_row.reshape(resamples, len(seeds), per_seed)
        return np.einsum("rsc,rs->rc", by_seed, seed_weights)

    return Resamples(
        drop=100 * (backbone[:, None] - averaged(decisions.correct)),
        reduction=1 - averaged(decisions.cost) / decisions.backbone_cost,
    )


def with_intervals(mean_table: pd.DataFrame, drawn: Resamples, confidence: float) -> pd.DataFrame:
    """Add ``drop_low, drop_high, reduction_low, reduction_high`` to the seed-averaged table."""
    result = mean_table.copy()
    for name in ("drop", "reduction"):
        result[f"{name}_low"], result[f"{name}_high"] = interval(getattr(drawn, name), confidence)
    return result


def gain(
    averaged: pd.DataFrame,
    drawn: Resamples,
    baseline: np.ndarray,
    other: np.ndarray,
    confidence: float,
    points: int = 25,
) -> pd.DataFrame:
    """Accuracy that one curve gains over another at the same reduction.

    Both curves are interpolated on a grid of reductions that both reach. Which rows form a curve is
    held fixed; the resamples move their test values, and a curve that a resample moves off an end of
    the grid keeps its end value there.

    Parameters
    ----------
    averaged : seed-averaged table with ``drop`` and ``reduction``; ``drawn`` has its rows as columns.
    baseline, other : positions of the rows of the two curves.

    Returns
    -------
    DataFrame
        ``reduction, gain, low, high`` (points; positive: ``other`` is more accurate). The last row,
        with a nan reduction, is the average over the grid.
    """
    reduction, drop = averaged["reduction"].to_numpy(), averaged["drop"].to_numpy()
    start = max(reduction[rows].min() for rows in (baseline, other))
    end = min(reduction[rows].max() for rows in (baseline, other))
    grid = np.linspace(start, end, points)

    def along_grid(reduction: np.ndarray, drop: np.ndarray) -> np.ndarray:
        curves = [drop_at(reduction[rows], drop[rows], grid) for rows in (baseline, other)]
        return curves[0] - curves[1]

    measured = along_grid(reduction, drop)
    samples = np.stack([along_grid(r, d) for r, d in zip(drawn.reduction, drawn.drop, strict=True)])
    table = pd.DataFrame({"reduction": grid, "gain": measured})
    table["low"], table["high"] = interval(samples, confidence)
    low, high = interval(samples.mean(axis=1), confidence)
    table.loc[len(table)] = [np.nan, measured.mean(), low, high]
    return table


def gains_at_equal_compute(
    averaged: pd.DataFrame, drawn: Resamples, confidence: float, points: int = 25
) -> pd.DataFrame:
    """What each cell gains over the baseline, front against front: ``gain`` with the cell's names."""
    chosen = fronts(averaged)
    members = {cell: of_cell(chosen, cell).index.to_numpy() for cell in cells_of(averaged)}
    parts = [
        gain(averaged, drawn, members[BASELINE], members[cell], confidence, points).assign(
            training=cell[0], calibration=cell[1]
        )
        for cell in cells_of(averaged)
        if cell != BASELINE
    ]
    return pd.concat(parts, ignore_index=True)


def paired_wins(
    averaged: pd.DataFrame, drawn: Resamples, confidence: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare each cell with the baseline configuration by configuration, corrected for compute.

    At equal margins two cells need not spend the same. So both configurations of a pair are measured
    by their distance to one curve, the baseline's front, each at its own reduction; the gain is the
    difference of the two distances.

    Returns
    -------
    pairs : one row a cell and configuration: the margins, ``gain`` (points), and at equal margins the
        differences ``less_drop`` (points) and ``more_reduction`` (share).
    counts : one row a cell: ``wins, losses, ties, p`` of the sign test, ``low`` and ``high`` of the wins.
    """
    front = of_cell(fronts(averaged), BASELINE).index.to_numpy()
    rows_of = {cell: of_cell(averaged, cell).index.to_numpy() for cell in cells_of(averaged)}
    reduction, drop = averaged["reduction"].to_numpy(), averaged["drop"].to_numpy()
    distance = distance_to_front(reduction, drop, front)
    samples = np.stack(
        [distance_to_front(r, d, front) for r, d in zip(drawn.reduction, drawn.drop, strict=True)]
    )
    base, pairs, counts = rows_of[BASELINE], [], []
    for cell in rows_of:
        if cell == BASELINE:
            continue
        rows = rows_of[cell]
        names = configuration_columns(averaged)
        pairs.append(
            averaged.loc[rows, names].assign(
                gain=distance[rows] - distance[base],
                less_drop=drop[base] - drop[rows],
                more_reduction=reduction[rows] - reduction[base],
            )
        )
        low, high = interval((samples[:, rows] > samples[:, base] + TIE).sum(axis=1), confidence)
        test = sign_test(pairs[-1]["gain"])
        counts.append({"training": cell[0], "calibration": cell[1], **test, "low": low, "high": high})
    return pd.concat(pairs, ignore_index=True), pd.DataFrame(counts)
