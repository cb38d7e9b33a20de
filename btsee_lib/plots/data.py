"""The figures of notebook 01: the data."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from btsee_lib.plots.panels import confusion_grid, interval
from btsee_lib.plots.style import GREY, INK, ORANGE, PURPLE, drawn_from_table


@drawn_from_table
def nearest_mean_confusion(table: pd.DataFrame) -> Figure:
    """Which class the nearest mean gives to the images of each class (``label, predicted, share``)."""
    return confusion_grid(table, PURPLE, "Where the nearest mean sends the images of each class (%)")


@drawn_from_table
def accuracy_by_clarity(table: pd.DataFrame) -> Figure:
    """Accuracy of ten groups of images, from unclear to clear (``group, accuracy, low, high``)."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    accuracy, reach = 100 * table["accuracy"], interval(table, "accuracy")
    average = accuracy.mean()
    axes.bar(table["group"], accuracy, color=PURPLE, width=0.75)
    axes.errorbar(table["group"], accuracy, yerr=reach, fmt="none", ecolor=INK, capsize=3, lw=1)
    axes.axhline(average, color=INK, lw=1, ls="--")
    words = {"textcoords": "offset points", "fontsize": 9}
    axes.annotate(f"all images: {average:.0f} %", (0.45, average), (0, 4), **words)
    axes.set_title("The classifier's own clarity tells which answers to trust")
    axes.set_xlabel("tenth of the images, from the least clear to the clearest")
    axes.set(ylabel="accuracy (%)", xticks=table["group"], ylim=(0, 104))
    axes.grid(axis="x", visible=False)
    return figure


@drawn_from_table
def class_mix(table: pd.DataFrame) -> Figure:
    """Share of each class in all images and in the unclear half (``name, all, unclear``)."""
    rows = table.sort_values("unclear").reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(7, max(4, 0.2 * len(rows))))
    axes.hlines(rows.index, 100 * rows["all"], 100 * rows["unclear"], color=ORANGE, lw=2, alpha=0.5)
    axes.plot(100 * rows["all"], rows.index, "|", color=GREY, ms=14, mew=2.5, label="all images")
    axes.plot(100 * rows["unclear"], rows.index, "o", color=ORANGE, ms=8, label="the unclear half")
    axes.set(xlabel="share of the class (%)", title="The images left over are another mix of classes")
    axes.set_yticks(rows.index, rows["name"])
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper left")  # the largest shares stand above, away from 0
    return figure
