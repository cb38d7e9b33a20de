"""Comparing configurations: paired, at equal compute, with intervals from one bootstrap for all.

A resample draws test images, and seeds, with replacement, and applies the same draw to every
configuration and to the backbone. What two configurations have in common therefore cancels.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from btsee_lib import evaluation
from btsee_lib.config import EvaluationParameters
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BASELINE, BTS_EE, TIES, Cell, configuration_columns, mean_over_seeds, of_cell
from btsee_lib.uncertainty import image_weights, interval

AT_ONCE = 1000  # draws, each of which weighs all images: their memory is bounded, however many there are


@dataclass(frozen=True)
class Resamples:
    """``drop`` (points) and ``reduction`` (share), both (resamples, configurations).

    The columns are the rows of ``mean_over_seeds`` of the table they were drawn from, in order.
    """

    drop: np.ndarray
    reduction: np.ndarray


def bootstrap(decisions: Decisions, resamples: int, seed: int) -> Resamples:
    """Draw images and seeds ``resamples`` times, and average each configuration over each draw.

    Raises
    ------
    ValueError
        If not all seeds have the same configurations, in the same order.
    """
    decisions = _seed_by_seed(decisions)
    number = decisions.table["seed"].nunique()
    of_seeds = np.random.default_rng([seed, number]).multinomial(number, np.full(number, 1 / number), resamples)
    generator, images = np.random.default_rng(seed), decisions.correct.shape[1]
    blocks = [
        _averaged(decisions, image_weights(images, len(block), generator) / images, block / number)
        for block in np.split(of_seeds, range(AT_ONCE, resamples, AT_ONCE))
    ]
    return Resamples(*map(np.concatenate, zip(*blocks, strict=True)))


def _seed_by_seed(decisions: Decisions) -> Decisions:
    """The rows of one seed together, and each seed's in the same order: what a draw of seeds is made from."""
    table, names = decisions.table, configuration_columns(decisions.table)
    first, *others = (rows[names].reset_index(drop=True) for _, rows in table.groupby("seed"))
    if not all(rows.equals(first) for rows in others):
        raise ValueError("the seeds have other configurations, or in another order: no draw can pair them")
    order = table["seed"].argsort(kind="stable").to_numpy()
    sorted_rows = {name: getattr(decisions, name)[order] for name in ("correct", "cost")}
    return replace(decisions, table=table.iloc[order], **sorted_rows)


def _averaged(decisions: Decisions, weights: np.ndarray, of_seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop and reduction of draws, from the weights of images (draws, N) and of seeds (draws, seeds)."""
    weights = weights.astype(np.float32)

    def averaged(values: np.ndarray) -> np.ndarray:
        by_seed = (weights @ values.T.astype(np.float32)).reshape(*of_seeds.shape, -1)
        return np.einsum("rsc,rs->rc", by_seed, of_seeds)

    backbone = weights @ decisions.backbone_correct.astype(np.float32)
    drop = 100 * (backbone[:, None] - averaged(decisions.correct))
    return drop, 1 - averaged(decisions.cost) / decisions.backbone_cost


def averaged_and_drawn(
    parameters: EvaluationParameters, *decisions: Decisions
) -> tuple[pd.DataFrame, Resamples]:
    """Average decisions on the same images over their seeds, and draw the same images for all.

    Of those with equally many seeds the same ones are drawn, too.

    Returns
    -------
    averaged : ``mean_over_seeds`` of all, one below the other, ``with_intervals``.
    drawn : its rows as columns.
    """
    parts = [bootstrap(each, parameters.resamples, parameters.seed) for each in decisions]
    drawn = Resamples(*(np.hstack([getattr(each, name) for each in parts]) for name in ("drop", "reduction")))
    averaged = pd.concat([mean_over_seeds(each.table) for each in decisions], ignore_index=True)
    return with_intervals(averaged, drawn, parameters.confidence), drawn


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
    within: tuple[float, float] = (-np.inf, np.inf),
) -> pd.DataFrame:
    """Accuracy that one curve gains over another at the same reduction.

    Both curves are interpolated on a grid of reductions that both reach. Which rows form a curve is
    held fixed; the resamples move their test values, and a curve that a resample moves off an end of
    the grid keeps its end value there.

    Parameters
    ----------
    averaged : seed-averaged table with ``drop`` and ``reduction``; ``drawn`` has its rows as columns.
    baseline, other : positions of the rows of the two curves.
    within : the least and the largest reduction to look at, of those that both reach.

    Returns
    -------
    DataFrame
        ``reduction, gain, low, high`` (points; positive: ``other`` is more accurate). The last row,
        with a nan reduction, is the average over the grid. All nan if there is no reduction to look at.
    """
    reduction, drop = averaged["reduction"].to_numpy(), averaged["drop"].to_numpy()
    start = max(within[0], *(reduction[rows].min() for rows in (baseline, other)))
    end = min(within[1], *(reduction[rows].max() for rows in (baseline, other)))
    grid = np.linspace(start, end, points) if start <= end else np.full(points, np.nan)

    def along_grid(reduction: np.ndarray, drop: np.ndarray) -> np.ndarray:
        curves = [evaluation.interpolated(grid, reduction[rows], drop[rows]) for rows in (baseline, other)]
        return curves[0] - curves[1]

    measured = along_grid(reduction, drop)
    samples = np.stack([along_grid(r, d) for r, d in zip(drawn.reduction, drawn.drop, strict=True)])
    table = pd.DataFrame({"reduction": grid, "gain": measured})
    table["low"], table["high"] = interval(samples, confidence)
    low, high = interval(samples.mean(axis=1), confidence)
    table.loc[len(table)] = [np.nan, measured.mean(), low, high]
    return table


def knob_names(table: pd.DataFrame) -> list[str]:
    """Return the columns that name a configuration within its cell."""
    return [name for name in configuration_columns(table) if name not in Cell._fields]


def gain_at_equal_compute(
    averaged: pd.DataFrame, drawn: Resamples, baseline: Cell, other: Cell, confidence: float, points: int = 25
) -> pd.DataFrame:
    """What one cell gains over another, front against front, see ``gain``."""
    return gain(averaged, drawn, *front_rows(averaged, baseline, other), confidence, points)


def front_rows(averaged: pd.DataFrame, *cells: Cell) -> list[np.ndarray]:
    """Return the positions of the rows on the front of each cell."""
    chosen = evaluation.fronts(averaged)
    return [of_cell(chosen, cell).index.to_numpy() for cell in cells]


def gains_at_equal_compute(averaged: pd.DataFrame, drawn: Resamples, confidence: float) -> pd.DataFrame:
    """What each cell gains over the baseline, front against front: ``gain`` with the cell's names."""
    parts = [
        gain_at_equal_compute(averaged, drawn, BASELINE, cell, confidence).assign(**cell._asdict())
        for cell in evaluation.cells_of(averaged)
        if cell != BASELINE
    ]
    return pd.concat(parts, ignore_index=True)


def at_equal_drop(
    averaged: pd.DataFrame, drawn: Resamples, baseline: Cell, other: Cell, max_drop: float, confidence: float
) -> pd.Series:
    """What the front of one cell saves more than that of another for the same drop on test.

    The drop is ``max_drop`` (points), or less where one of the fronts ends before; a front is read along its
    reduction, as in ``gain``: the most that it saves without dropping by more. So in every resample.

    Returns
    -------
    Series
        ``drop``, and ``more, low, high``: the difference of the reductions (points of per cent). Nan where a
        front has no configuration that keeps the drop.
    """
    members = front_rows(averaged, baseline, other)

    def compared(drop: np.ndarray, reduction: np.ndarray) -> tuple[float, float]:
        level = min(max_drop, *(drop[rows].max() for rows in members))
        saved = [most_saved(drop[rows], reduction[rows], level) for rows in members]
        return level, 100 * (saved[1] - saved[0])

    level, more = compared(averaged["drop"].to_numpy(), averaged["reduction"].to_numpy())
    samples = [compared(d, r)[1] for d, r in zip(drawn.drop, drawn.reduction, strict=True)]
    low, high = interval(np.array(samples), confidence)
    return pd.Series({"drop": level, "more": more, "low": low, "high": high})


def most_saved(drop: np.ndarray, reduction: np.ndarray, max_drop: float, points: int = 500) -> float:
    """The largest reduction on a curve (n,), joined by lines along it, that drops by ``max_drop`` at most."""
    grid = np.union1d(reduction, np.linspace(reduction.min(), reduction.max(), points))
    kept = grid[evaluation.interpolated(grid, reduction, drop) <= max_drop + TIES[0]]
    return kept.max() if len(kept) else np.nan


def at_equal_margins(
    averaged: pd.DataFrame, drawn: Resamples, confidence: float, baseline: Cell, other: Cell = BTS_EE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare two cells configuration by configuration, each with the margins of the other.

    Equal margins need not spend the same, so who is ahead can be read in several ways.

    Returns
    -------
    pairs : one row a configuration: its margins, ``less_drop`` (points) and ``more_reduction`` (share) of the
        other cell against the baseline.
    counts : one row a ``reading``, with the ``count`` of configurations and its ``low`` and ``high``: "less
        accuracy lost"; "better in both" and "worse in both" (accuracy and computation at once); and
        "ahead", the difference of these two.
    """
    base, rows = (of_cell(averaged, cell).index.to_numpy() for cell in (baseline, other))

    def differences(drop: np.ndarray, reduction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return drop[..., base] - drop[..., rows], reduction[..., rows] - reduction[..., base]

    def counted(less_drop: np.ndarray, more_reduction: np.ndarray) -> dict[str, np.ndarray]:
        better = ((less_drop > TIES[0]) & (more_reduction > TIES[1])).sum(-1)
        worse = ((less_drop < -TIES[0]) & (more_reduction < -TIES[1])).sum(-1)
        lost_less = (less_drop > TIES[0]).sum(-1)
        in_both = {"better in both": better, "worse in both": worse, "ahead": better - worse}
        return {"less accuracy lost": lost_less} | in_both

    measured = differences(averaged["drop"].to_numpy(), averaged["reduction"].to_numpy())
    samples = counted(*differences(drawn.drop, drawn.reduction))
    names, found = knob_names(averaged), counted(*measured)
    pairs = averaged.loc[rows, names].assign(less_drop=measured[0], more_reduction=measured[1])
    counts = [(name, int(found[name]), *interval(samples[name], confidence)) for name in found]
    return pairs.reset_index(drop=True), pd.DataFrame(counts, columns=["reading", "count", "low", "high"])
