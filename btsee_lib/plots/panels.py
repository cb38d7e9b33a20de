"""What several figures have in common: panels, a frame, curves and grids."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.plots.style import AROUND_ZERO, GREY, HEAT

CROWDED = 25  # classes from which on a confusion grid grows with their number


def panels_of(
    table: pd.DataFrame,
    by: str | list[str],
    size: tuple[float, float],
    beside: float = 0,
    columns: int | None = None,
    **options: bool,
) -> tuple[Figure, list[tuple[Any, pd.DataFrame, Axes]]]:
    """Divide a table by columns: each group with its rows and axes of so many inches (width, height).

    They stand in rows of so many ``columns``, by default in one row, with room ``beside`` the last.
    """
    groups = list(table.groupby(by, sort=False))
    columns = min(columns or len(groups), len(groups))
    rows = -(-len(groups) // columns)
    inches = (size[0] * columns + beside, size[1] * rows)
    figure, panels = plt.subplots(rows, columns, figsize=inches, squeeze=False, **options)
    for spare in panels.flat[len(groups) :]:
        spare.remove()
    return figure, [(*group, axes) for group, axes in zip(groups, panels.flat, strict=False)]


def frame_of_drops(
    axes: Axes, title: str, saved: str = "computation saved (% of the backbone's MACs)", **legend: Any
) -> None:
    """Frame curves of drops against what is ``saved``, with a legend of them."""
    axes.axhline(0, color=GREY, lw=1)
    axes.set(xlabel=saved, ylabel="accuracy drop on test (points)", title=title)
    axes.legend(**legend)


def headline(figure: Figure, text: str) -> None:
    """Write what all panels say together above them."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)


def interval(rows: pd.DataFrame, measure: str) -> list[pd.Series]:
    """How far ``low`` and ``high`` reach below and above a share, in %: what ``errorbar`` draws."""
    value = 100 * rows[measure]
    return [value - 100 * rows["low"], 100 * rows["high"] - value]


def curve_of_drops(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    """Draw accuracy drop (points) against reduction (%), with the interval of the drop as a band."""
    saved = 100 * rows["reduction"]
    axes.fill_between(saved, rows["drop_low"], rows["drop_high"], color=colour, alpha=0.12, lw=0)
    axes.plot(saved, rows["drop"], "o-", ms=4, color=colour, label=label)


def heat_map(axes: Axes, grid: pd.DataFrame, digits: str, name: str, **limits: float) -> None:
    """Draw a grid of numbers, beside it a bar of this name."""
    sns.heatmap(
        grid, annot=True, fmt=digits, ax=axes, yticklabels=True, cbar_kws={"label": name}, **HEAT, **limits
    )


def gain_map(axes: Axes, grid: pd.DataFrame, farthest: float, size: float, **told: Any) -> None:
    """Draw a grid of gains and losses up to the ``farthest``, with letters of a size."""
    limits = {"vmin": -farthest, "vmax": farthest}
    sns.heatmap(grid, ax=axes, annot_kws={"size": size}, **told, **limits, **AROUND_ZERO)


def confusion_grid(table: pd.DataFrame, colour: str, title: str) -> Figure:
    """Heat map of ``label, predicted, share``: numbers where there is room, else a bar of the colours."""
    names = table["label"].unique()
    shares = 100 * table.pivot(index="label", columns="predicted", values="share").loc[names, names]
    crowded, growth = len(names) > CROWDED, max(1, len(names) / CROWDED)
    figure, axes = plt.subplots(figsize=(7 * growth, 5.6 * growth))
    annot = None if crowded else shares.map(lambda share: f"{share:.0f}" if share > 0.5 else "")
    look = {"cmap": sns.light_palette(colour, as_cmap=True), "linewidths": 0.5, "annot_kws": {"size": 9}}
    look |= {"cbar": crowded, "cbar_kws": {"label": "images of the class (%)"}, "vmin": 0, "vmax": 100}
    sns.heatmap(shares, annot=annot, fmt="", square=True, xticklabels=names, yticklabels=names, ax=axes, **look)
    axes.set(xlabel="predicted", ylabel="true class", title=title)
    axes.set_xticklabels(names, **({"rotation": 90} if crowded else {"rotation": 40, "ha": "right"}))
    axes.tick_params(axis="y", rotation=0)
    return figure
