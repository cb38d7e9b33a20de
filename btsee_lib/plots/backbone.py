"""The figures of notebook 02: the backbone."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from btsee_lib.plots.panels import confusion_grid, interval
from btsee_lib.plots.style import GREEN, GREY, drawn_from_table


@drawn_from_table
def stage_costs(table: pd.DataFrame) -> Figure:
    """MACs, their running total and the parameters of the four stages (``stage, macs, parameters``)."""
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True)
    macs, weights = (100 * table[column] / table[column].sum() for column in ("macs", "parameters"))
    shown = (
        (macs, "MACs (% of all)", "Stages cost about the same ..."),
        (macs.cumsum(), "MACs up to here (% of all)", "... so leaving early saves much"),
        (weights, "parameters (% of all)", "Most parameters come last"),
    )
    for axes, (values, label, title) in zip(panels, shown, strict=True):
        bars = axes.barh(table["stage"].astype(str), values, color=GREEN, height=0.65)
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
        axes.set(xlabel=label, title=title, xlim=(0, 1.16 * values.max()))
        axes.grid(axis="y", visible=False)
    panels[0].set(ylabel="stage")
    panels[0].invert_yaxis()
    return figure


@drawn_from_table
def learning_curve(table: pd.DataFrame) -> Figure:
    """Losses and watched validation accuracy by epoch (``train_backbone``, with ``image_size``)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    left.plot(table["epoch"], table["train_loss"], "o--", color=GREY, label="training")
    left.plot(table["epoch"], table["valid_loss"], "o-", color=GREEN, label="validation")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="Loss")
    right.plot(table["epoch"], 100 * table["valid_accuracy"], "o-", color=GREEN)
    right.set(xlabel="epoch", ylabel="accuracy (%)", title="Accuracy on full-size validation images")
    small = table[table["image_size"] < table["image_size"].max()]
    for axes in (left, right):
        axes.set_xticks(table["epoch"])
        if len(small):
            axes.axvspan(0.5, small["epoch"].max() + 0.5, color=GREY, alpha=0.15, lw=0)
            axes.set_xlim(0.5, table["epoch"].max() + 0.5)
    if len(small):
        label = "trained on {0} x {0} pixels".format(small["image_size"].max())
        right.annotate(label, (0.03, 0.95), xycoords="axes fraction", va="top", fontsize=9)
    left.legend()
    return figure


@drawn_from_table
def confusion(table: pd.DataFrame) -> Figure:
    """Which class the backbone gives to the images of each class (``label, predicted, share``)."""
    return confusion_grid(table, GREEN, "Where the backbone sends the images of each class (%)")


@drawn_from_table
def class_precision(table: pd.DataFrame) -> Figure:
    """How often the backbone is right when it says a class (``name, precision, low, high``)."""
    rows = table.sort_values("precision").reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(7, max(3.8, 0.2 * len(rows))))
    reach = interval(rows, "precision")
    axes.errorbar(100 * rows["precision"], rows.index, xerr=reach, fmt="o", color=GREEN, ms=7, capsize=3)
    axes.set_yticks(rows.index, rows["name"])
    title = "How often the backbone is right when it says ..."
    axes.set(xlabel="precision (%), with its interval", title=title, ylim=(-0.6, len(rows) - 0.4))
    axes.grid(axis="y", visible=False)
    return figure
