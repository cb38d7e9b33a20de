"""The figures of notebook 03: boosted branches."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from btsee_lib.plots.panels import panels_of
from btsee_lib.plots.style import BLUE, BRANCH_COLOURS, GREEN, GREY, ORANGE, PURPLE, SKY, drawn_from_table

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
    """How far networks fall on survivors, against their accuracy, a panel a rule.

    ``rule, survivors`` (their number) and the columns of ``survivors.falls_on_survivors``; the last row of a
    rule is the branch.
    """
    figure, panels = panels_of(table, "rule", (5.6, 4.4), sharey=True)
    for rule, rows, axes in panels:
        branch, others, line = rows.iloc[-1], rows.iloc[:-1], rows.sort_values("accuracy")
        axes.plot(line["accuracy"], line["expected"], "--", color=GREEN)
        axes.plot(others["accuracy"], others["fall"], "o", color=GREEN)
        reach = [[branch["beyond"] - branch["low"]], [branch["high"] - branch["beyond"]]]
        axes.errorbar(branch["accuracy"], branch["fall"], reach, fmt="s", color=BLUE, capsize=4)
        for row in rows.itertuples():
            look = {"color": BLUE, "ha": "right"} if row.network == branch["network"] else {"color": GREEN}
            words = {"xytext": (-7 if "ha" in look else 6, 4), "textcoords": "offset points", "fontsize": 10}
            axes.annotate(row.network, (row.accuracy, row.fall), **words, **look)
        told = "falls by {fall:.1f} points".format(**branch)
        if np.isfinite(branch["beyond"]):  # narrower networks have been measured
            axes.legend([axes.lines[0]], ["a network of that accuracy"], loc="lower left")
            told = "{beyond:+.1f} from the line ({low:+.1f} to {high:+.1f})".format(**branch)
        axes.set(xlabel="accuracy on all test images (%)", ylabel="points lost on survivors")
        axes.set_title(f"{rule}\n{branch['network']}: {told}")
        axes.margins(x=0.3, y=0.15)
    return figure


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
