"""The figures of notebook 03: boosted branches."""

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from btsee_lib.plots.style import BRANCH_COLOURS, GREY, ORANGE, drawn_from_table

MARKERS = "vosDP"  # of branch 1, 2, ...


@drawn_from_table
def branch_width(table: pd.DataFrame) -> Figure:
    """Validation accuracy of each branch against its cost (``branch_design.branch_width``)."""
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for (number, rows), colour in zip(table.groupby("branch"), BRANCH_COLOURS, strict=False):
        cost = 100 * rows["share"]
        accuracy = 100 * rows["valid_accuracy"]
        axes.plot(cost, accuracy, "o-", color=colour)
        axes.annotate(
            f"branch {number}", (cost.iloc[-1], accuracy.iloc[-1]), (8, -3), textcoords="offset points"
        )
    first = table[table["branch"] == table["branch"].min()]
    for row in first.itertuples():
        axes.annotate(
            f"{row.channels}",
            (100 * row.share, 100 * row.valid_accuracy),
            (0, -14),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=GREY,
        )
    axes.set(
        xlabel="cost of the branch (% of the backbone's MACs)",
        ylabel="validation accuracy (%)",
        title="Where a branch sits matters more than its width (small numbers: channels)",
    )
    axes.margins(x=0.14, y=0.12)
    return figure


@drawn_from_table
def covariance_shift(table: pd.DataFrame) -> Figure:
    """Class mix and accuracy of all images against the survivors (``survivors.shift_table``)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2))
    colours = dict(zip(table["group"].unique(), (GREY, ORANGE), strict=True))
    mix = table[table["kind"] == "class"].assign(value=lambda rows: 100 * rows["value"])
    order = mix[mix["group"] == mix["group"].iloc[-1]].sort_values("value", ascending=False)["name"]
    sns.barplot(mix, y="name", x="value", hue="group", order=order, palette=colours, ax=left, saturation=1)
    left.set(xlabel="share of the class (%)", ylabel="", title="The survivors are another mix of classes ...")
    left.legend(title=None, loc="lower right")
    hit = table[table["kind"] == "accuracy"].assign(value=lambda rows: 100 * rows["value"])
    sns.barplot(hit, x="name", y="value", hue="group", palette=colours, ax=right, saturation=1, legend=False)
    for bars in right.containers:
        right.bar_label(bars, fmt="%.0f", fontsize=9)
    right.set(xlabel="", ylabel="accuracy (%)", title="... and harder: every network errs more", ylim=(0, 108))
    return figure


@drawn_from_table
def training_gains(table: pd.DataFrame) -> Figure:
    """Gain of boosted training on test survivors against their number (``survivors.training_gains``)."""
    figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for number, rows in table.groupby("branch"):
        axes.scatter(
            rows["train_survivors"],
            rows["gain"],
            color=BRANCH_COLOURS[number - 1],
            marker=MARKERS[number - 1],
            alpha=0.75,
            label=f"branch {number}",
        )
    axes.axhline(0, color=GREY, lw=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if f"{value:.0e}"[0] in "235" else "")
    axes.set(
        xlabel="training images that survive (logarithmic)",
        ylabel="boosted less independent (points)",
        title="Accuracy gained on survivors by training on survivors",
    )
    words = {"xycoords": "axes fraction", "fontsize": 9, "color": GREY}
    axes.annotate("above: boosting pays", (0.02, 0.94), **words)
    axes.annotate("below: boosting costs", (0.5, 0.04), **words)
    axes.legend(loc="lower right")
    return figure
