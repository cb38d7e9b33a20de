"""The figures of notebook 03: boosted branches."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.plots.panels import panels_of
from btsee_lib.plots.style import BLUE, BRANCH_COLOURS, GREEN, GREY, INK, ORANGE, PURPLE, SKY, drawn_from_table

MARKERS = "vosDP"  # of branch 1, 2, ...
KIND_COLOURS = (GREY, BLUE, SKY)
SCHEME_COLOURS = (GREY, GREEN, PURPLE, ORANGE)


@drawn_from_table
def branch_kinds(table: pd.DataFrame) -> Figure:
    """Validation accuracy of each branch against its cost, by kind (``branch_design.branch_kinds``)."""
    figure, panels = _accuracy_panels(table.assign(cost=100 * table["share"]), "kind", "cost", KIND_COLOURS)
    words = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
    for number, mine, axes in panels:
        for _, widest in mine.groupby("kind").tail(1).iterrows():
            place = (widest["cost"], 100 * widest["valid_accuracy"])
            axes.annotate(f"{widest['channels']}", place, (0, 5), **words)
        axes.set(xlabel="cost (% of the backbone's MACs)", title=f"branch {number}")
    figure.axes[0].set_ylabel("validation accuracy (%)")
    figure.suptitle("What a branch reads, and how wide it is (number: channels of the widest)", fontsize=11)
    return figure


@drawn_from_table
def learning_curves(table: pd.DataFrame) -> Figure:
    """Validation accuracy of each branch against its training visits (``branch_design.learning_curves``)."""
    figure, panels = _accuracy_panels(table, "training", "epochs", SCHEME_COLOURS)
    for number, mine, axes in panels:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        title = f"branch {number}: {mine['survivors'].iloc[0]:,} images"
        axes.set(xlabel="visits (epochs over all images)", title=title)
    figure.axes[0].set_ylabel("accuracy on those that it meets (%)")
    figure.suptitle("How long to train: validation accuracy against training visits", fontsize=11)
    return figure


def _accuracy_panels(table: pd.DataFrame, by: str, along: str, colours: Sequence[str]) -> tuple[Figure, list]:
    """Draw ``valid_accuracy`` along a column, a panel a branch, a line for each value of the column ``by``."""
    figure, panels = panels_of(table, "branch", (3.4, 3.6))
    for _, mine, axes in panels:
        for (name, rows), colour in zip(mine.groupby(by, sort=False), colours, strict=False):
            axes.plot(rows[along], 100 * rows["valid_accuracy"], "o-", color=colour, label=name)
        axes.margins(y=0.15)
    figure.axes[-1].legend(loc="best", fontsize=8)
    return figure, panels


@drawn_from_table
def covariance_shift(table: pd.DataFrame) -> Figure:
    """Class mix and accuracy of all images against the survivors (``survivors.shift_table``)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.7), width_ratios=(3, 2))
    groups = table["group"].unique()
    colours = dict(zip(groups, (GREY, ORANGE, PURPLE), strict=False))
    mix = table[table["kind"] == "class"].assign(value=lambda rows: 100 * rows["value"])
    order = mix[mix["group"] == groups[1]].sort_values("value", ascending=False)["name"]
    sns.barplot(mix, y="name", x="value", hue="group", order=order, palette=colours, ax=left, saturation=1)
    left.set(xlabel="share of the class (%)", ylabel="", title="The survivors are another mix of classes ...")
    left.legend(title=None, loc="upper center", bbox_to_anchor=(0.4, -0.13), ncols=2)
    hit = table[table["kind"] == "accuracy"].assign(value=lambda rows: 100 * rows["value"])
    sns.barplot(hit, x="name", y="value", hue="group", palette=colours, ax=right, saturation=1, legend=False)
    for bars in right.containers:
        right.bar_label(bars, fmt="%.0f", fontsize=9)
    right.set(xlabel="", ylabel="accuracy (%)", title="... and harder: every network errs more", ylim=(0, 108))
    return figure


@drawn_from_table
def fall_on_survivors(table: pd.DataFrame) -> Figure:
    """How far a branch falls on survivors, in two parts, a bar a row of the table.

    ``rule, survivors, difficulty`` (how far the backbone falls on the same images), ``mismatch`` (how much
    further the branch falls) with ``low`` and ``high``: points; ``branch``.
    """
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.95 * len(table)), layout="constrained")
    fall, places = table["difficulty"] + table["mismatch"], range(len(table))
    axes.barh(places, table["difficulty"], color=GREEN, height=0.6, label="difficulty: the backbone's fall")
    further = "mismatch: how much further the branch falls (bar: 95 %)"
    axes.barh(places, table["mismatch"], left=table["difficulty"], color=BLUE, height=0.3, label=further)
    reach = [table["mismatch"] - table["low"], table["high"] - table["mismatch"]]
    axes.errorbar(fall, places, xerr=reach, fmt="none", ecolor=INK, capsize=6, lw=2)
    _number_parts(axes, table)
    names = [f"{row.rule}\n{row.survivors:,} survivors" for row in table.itertuples()]
    axes.set_yticks(places, names, fontsize=12)
    axes.set_xlabel("points of accuracy lost, from all images to survivors", fontsize=12)
    first = f"Branch {table['branch'].iloc[0]} loses {fall.iloc[0]:.1f} points on its survivors"
    axes.set_title(f"{first}; the backbone loses {table['difficulty'].iloc[0]:.1f} on the same", fontsize=13)
    furthest = table["difficulty"] + table[["mismatch", "high"]].max(axis=1).clip(lower=0)
    lowest, highest = fall.fillna(0).min(), furthest.fillna(0).max()  # nan: a rule that leaves no survivors
    axes.set(xlim=(min(0, 1.1 * lowest), max(1, 1.12 * highest)), ylim=(len(table) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.28), ncols=2, fontsize=11)
    return figure


def _number_parts(axes: Axes, table: pd.DataFrame) -> None:
    words = {"va": "center", "fontsize": 13, "weight": "bold"}
    for place, row in enumerate(table.itertuples()):
        axes.annotate(f"{row.difficulty:.1f}", (row.difficulty / 2, place), ha="center", color="white", **words)
        end = row.difficulty + max(row.mismatch, row.high, 0)
        offset = {"xytext": (10, 0), "textcoords": "offset points"}
        axes.annotate(f"{row.mismatch:+.1f}", (end, place), color=BLUE, **offset, **words)


@drawn_from_table
def training_gains(table: pd.DataFrame) -> Figure:
    """Gain of boosted training on test survivors against their number (``survivors.training_gains``)."""
    figure, axes = plt.subplots(figsize=(7.5, 4))
    for number, rows in table.groupby("branch"):
        look = {"color": BRANCH_COLOURS[number - 1], "marker": MARKERS[number - 1], "alpha": 0.75}
        axes.scatter(rows["train_survivors"], rows["gain"], label=f"branch {number}", **look)
    axes.axhline(0, color=GREY, lw=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if f"{value:.0e}"[0] in "235" else "")
    axes.set_title("Accuracy gained on survivors by training on survivors")
    axes.set(xlabel="training images that survive (logarithmic)", ylabel="boosted less independent (points)")
    # Beside the plot, at the end of the zero line: no point can lie there.
    words = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 9, "color": GREY}
    axes.annotate("above:\nboosting pays", (1, 0), (6, 4), va="bottom", **words)
    axes.annotate("below:\nboosting costs", (1, 0), (6, -4), va="top", **words)
    axes.legend(loc="lower right", frameon=True, framealpha=1, edgecolor="white")  # no grid behind it
    return figure
