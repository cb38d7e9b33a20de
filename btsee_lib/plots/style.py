"""One function a figure: a table in, a matplotlib figure out.

A figure has the name of its table, so ``reports/figures/fronts.png`` is ``fronts(table)`` of
``reports/tables/fronts.csv`` and can be drawn again without computing anything. Colours are those of
Okabe and Ito, told apart by colour-blind readers; a colour stands for one thing in all notebooks.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, PALE, BLUE, ORANGE = "#333333", "#8C8C8C", "#E6E6E6", "#0072B2", "#D55E00"
GREEN, PURPLE, SKY, AMBER = "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
BRANCH_COLOURS = (SKY, BLUE, INK, PURPLE, GREEN)  # of branch 1, 2, ...
RULE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK, GREY, AMBER)
BESIDE = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 9}  # a legend right of its panel
HEAT = {"cmap": "Blues", "linewidths": 1}  # of a heat map of numbers between 0 and 1
AROUND_ZERO = {"cmap": "PuOr_r", "linewidths": 1, "cbar": False}  # of one of gains and losses
FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {}

sns.set_theme(style="whitegrid", font="DejaVu Sans")
mpl.rcParams.update(
    {
        "figure.dpi": 110,
        "text.parse_math": False,  # a class may be called $x$
        "savefig.dpi": 150,
        "savefig.bbox": "tight",
        "figure.constrained_layout.use": True,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


def drawn_from_table(function: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
    """Register a figure under its function's name, which is the name of its table; one without rows says so."""

    @wraps(function)
    def draw(table: pd.DataFrame, **options: str) -> Figure:
        return _nothing_to_draw(function.__name__) if table.empty else function(table, **options)

    FIGURES[function.__name__] = draw
    return draw


def _nothing_to_draw(name: str) -> Figure:
    figure, axes = plt.subplots(figsize=(6, 0.8))
    axes.set_axis_off()
    axes.text(0, 0.5, f"nothing to draw: the table {name} has no rows here", va="center", color=GREY)
    return figure


def panels_of(
    groups: Sequence[Any],
    width: float,
    height: float,
    beside: float = 0,
    columns: int | None = None,
    **options: bool,
) -> tuple[Figure, dict[Any, Axes]]:
    """Axes of so many inches, one a group, by default in one row, with room ``beside`` the last."""
    columns = min(columns or len(groups), len(groups))
    rows = -(-len(groups) // columns)
    size = (width * columns + beside, height * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    for spare in panels.flat[len(groups) :]:
        spare.remove()
    return figure, dict(zip(groups, panels.flat, strict=False))


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


def confusion_grid(table: pd.DataFrame, colour: str, title: str) -> Figure:
    """Heat map of ``label, predicted, share``."""
    names = table["label"].unique()
    shares = 100 * table.pivot(index="label", columns="predicted", values="share").loc[names, names]
    figure, axes = plt.subplots(figsize=(7, 5.6))
    annot = shares.map(lambda share: f"{share:.0f}" if share > 0.5 else "")
    look = {"cmap": sns.light_palette(colour, as_cmap=True), "linewidths": 0.5, "annot_kws": {"size": 9}}
    sns.heatmap(shares, annot=annot, fmt="", vmin=0, vmax=100, square=True, cbar=False, ax=axes, **look)
    axes.set(xlabel="predicted", ylabel="true class", title=title)
    axes.set_xticklabels(names, rotation=40, ha="right")
    axes.tick_params(axis="y", rotation=0)
    return figure
