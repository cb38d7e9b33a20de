"""One function a figure: a table in, a matplotlib figure out.

A figure has the name of its table, so ``reports/figures/fronts.png`` is ``fronts(table)`` of
``reports/tables/fronts.csv`` and can be drawn again without computing anything. Colours are those of
Okabe and Ito, told apart by colour-blind readers; a colour stands for one thing in all notebooks.
"""

from collections.abc import Callable
from functools import wraps

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

INK, GREY, PALE, BLUE, ORANGE = "#333333", "#8C8C8C", "#E6E6E6", "#0072B2", "#D55E00"
GREEN, PURPLE, SKY, AMBER = "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
BRANCH_COLOURS = (SKY, BLUE, INK, PURPLE, GREEN)  # of branch 1, 2, ...
RULE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK, GREY, AMBER)
BESIDE = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 9}  # a legend right of its panel
HEAT = {"cmap": "Blues", "linewidths": 1}  # of a heat map of numbers between 0 and 1
AROUND_ZERO = {"cmap": "PuOr_r", "linewidths": 1, "cbar": False}  # of one of gains and losses
FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {}

mpl.rcdefaults()  # a user's own settings would change figures
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
