"""The figures of notebook 09: every way to train a cascade beside the others."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE
from btsee_lib.plots.style import (
    BESIDE,
    BLUE,
    GREY,
    HEAT,
    INK,
    RULE_COLOURS,
    drawn_from_table,
    panels_of,
)
from btsee_lib.studies.other_ways import both_ways

SHOWN_DROP = 1.0  # points of accuracy: of the allowed drops, the one that figures show


@drawn_from_table
def sample_weights(table: pd.DataFrame) -> Figure:
    """What a training sample weighs, by how far above the threshold it lies: ``training, excess, weight``."""
    figure, axes = plt.subplots(figsize=(7.5, 3.2))
    for (name, rows), colour in zip(table.groupby("training", sort=False), RULE_COLOURS, strict=False):
        axes.plot(rows["excess"], rows["weight"], color=colour, lw=2, label=name)
    axes.axvline(0, color=GREY, lw=1)
    axes.annotate("stays", (-0.03, 1.08), ha="right", color=GREY)
    axes.annotate("leaves", (0.03, 1.08), color=GREY)
    axes.set(
        xlabel="confidence less threshold, at the branch before",
        ylabel="weight in training",
        ylim=(-0.05, 1.2),
        title="The hard filter is one of many: what a sample weighs for the next branch",
    )
    axes.legend(**BESIDE)
    return figure


@drawn_from_table
def scheme_standings(table: pd.DataFrame) -> Figure:
    """Gain at equal compute and MACs saved, a row a scheme (``other_ways.standings``, with ``data_set``)."""
    groups = list(table.groupby("data_set", sort=False))
    figure, panels = plt.subplots(len(groups), 2, figsize=(10, 3.6 * len(groups)), squeeze=False, sharey="row")
    for (data_set, rows), (left, right) in zip(groups, panels, strict=True):
        rows = rows[rows["max_drop"] == SHOWN_DROP].sort_values("gain")
        _dots(left, rows, "gain", 1, BLUE)
        left.axvline(0, color=INK, lw=1)
        others = rows[rows["training"] != CALIBRATION_ALONE.training]
        ahead = f"{int(others['gain_low'].gt(0).sum())} of {len(others)} ahead, one comparison at a time"
        left.set(xlabel="accuracy gained at equal compute over independent branches (points)")
        left.set_title(f"{data_set}: {ahead}")
        _dots(right, rows, "reduction", 100, GREY)
        right.set(xlabel="MACs saved (%)", title=f"chosen on valid for a drop of at most {SHOWN_DROP:g} point")
    return figure


def _dots(axes: Axes, rows: pd.DataFrame, measure: str, scale: float, colour: str) -> None:
    """A dot a scheme, with its interval."""
    value = scale * rows[measure]
    reach = [value - scale * rows[f"{measure}_low"], scale * rows[f"{measure}_high"] - value]
    reach = [each.clip(lower=0) for each in reach]  # where all draws are equal, the last digit may differ
    axes.errorbar(value, rows["training"], xerr=reach, fmt="o", color=colour, lw=1.5)


@drawn_from_table
def scheme_pairs(table: pd.DataFrame) -> Figure:
    """Who gains over whom at equal compute, told where the interval for all pairs at once leaves out zero."""
    names = list(dict.fromkeys([*table["training"], *table["over"]]))
    figure, panels = panels_of(table["data_set"].unique(), 6.4, 5, sharey=True)
    for data_set, axes in panels.items():
        both = both_ways(table[table["data_set"] == data_set])
        certain = both["gain_low"].gt(0) | both["gain_high"].lt(0)
        both["words"] = both["gain"].map("{:+.2f}".format).where(certain, "")
        gains, words = (
            both.pivot(index="training", columns="over", values=each).reindex(index=names, columns=names)
            for each in ("gain", "words")
        )
        farthest = table["gain"].abs().max()
        look = {"cmap": "PuOr_r", "vmin": -farthest, "vmax": farthest, "linewidths": 1, "cbar": False}
        sns.heatmap(gains, annot=words.fillna(""), fmt="", annot_kws={"size": 8}, ax=axes, **look)
        told = f"in {certain.sum() // 2} of {len(both) // 2} pairs the interval leaves out 0 (points)"
        axes.set(xlabel="over", ylabel="gain of", title=f"{data_set}: {told}")
        axes.set_xticklabels(names, rotation=40, ha="right")
    return figure


@drawn_from_table
def scheme_effort(table: pd.DataFrame) -> Figure:
    """Gain over independent branches of as many visits, by the visits (``effort.accuracy_by_effort``)."""
    later = table[table["branch"] > 1]
    groups = list(later.groupby(["data_set", "branch"], sort=False))
    figure, panels = panels_of([key for key, _ in groups], 4, 3.6, beside=2, sharey=True)
    for (data_set, branch), rows in groups:
        axes = panels[data_set, branch]
        accuracy = 100 * rows.pivot(index="epochs", columns="training", values="valid_accuracy")
        gains = accuracy.sub(accuracy[CALIBRATION_ALONE.training], axis=0)[rows["training"].unique()]
        for place, name in enumerate(gains.columns):
            style = "-" if place < len(RULE_COLOURS) else "--"
            colour = RULE_COLOURS[place % len(RULE_COLOURS)]
            axes.plot(gains.index, gains[name], style, marker="o", ms=4, color=colour, label=name)
        axes.axhline(0, color=INK, lw=1)
        title = f"{data_set}, branch {branch}"
        if BTS_EE.training in gains and gains[BTS_EE.training].notna().all():
            few, many = gains[BTS_EE.training].iloc[[0, -1]]
            title += f": boosted {few:+.1f}, then {many:+.1f}"
        axes.set(xlabel="visits (epochs)", title=title, xticks=np.unique(gains.index))
    figure.axes[0].set_ylabel("accuracy on survivors of valid,\ngained over independent (points)")
    figure.axes[len(groups) - 1].legend(**BESIDE)
    return figure


@drawn_from_table
def scheme_rules(table: pd.DataFrame) -> Figure:
    """Accuracy drop by scheme and exit rule (``other_ways.drop_at_equal_compute``, with ``data_set``)."""
    figure, panels = panels_of(table["data_set"].unique(), 7, 4.6, sharey=True)
    for data_set, axes in panels.items():
        rows = table[table["data_set"] == data_set]
        grid = rows.pivot(index="training", columns="rule", values="drop")
        grid = grid.loc[rows["training"].unique(), rows["rule"].unique()]
        by_scheme, by_rule = (float(grid.std(axis=axis).mean()) for axis in (0, 1))
        bar = {"label": "accuracy drop at equal compute (points)"}
        sns.heatmap(grid, annot=True, fmt=".2f", ax=axes, cbar_kws=bar, **HEAT)
        told = f"schemes differ by {by_scheme:.2f} points, rules by {by_rule:.2f}"
        axes.set(xlabel="", ylabel="", title=f"{data_set}: {told} (standard deviation)")
        axes.set_xticklabels(grid.columns, rotation=30, ha="right")
    return figure
