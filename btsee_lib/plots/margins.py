"""The figures of notebook 04: Class Precision Margin."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.plots.panels import curve_of_drops, frame_of_drops, headline, heat_map, panels_of
from btsee_lib.plots.style import BLUE, BRANCH_COLOURS, GREY, INK, ORANGE, PALE, RULE_COLOURS, drawn_from_table


@drawn_from_table
def threshold_search(table: pd.DataFrame) -> Figure:
    """Precision above each confidence, with bar and threshold (``rule_sweep.search_table``)."""
    figure, panels = panels_of(table, "class", (4.6, 3.8))
    low = 100 * table["precision"].quantile(0.02)
    for name, rows, axes in panels:
        bar, threshold = rows["bar"].iloc[0], rows["threshold"].iloc[0]
        leaving = rows[rows["confidence"] >= threshold]
        axes.plot(rows["confidence"], 100 * rows["precision"], color=GREY, lw=1.5)
        axes.plot(leaving["confidence"], 100 * leaving["precision"], color=BLUE, lw=2.5, label="these leave")
        axes.axhline(100 * bar, color=INK, ls="--", lw=1.2, label=f"bar {100 * bar:.1f} %")
        if len(leaving):
            axes.axvline(threshold, color=BLUE, ls=":", lw=1.5, label=f"threshold {threshold:.2f}")
        share = leaving["support"].max() / rows["support"].max() if len(leaving) else 0
        title = f"{name}: {100 * share:.0f} % may leave"
        axes.set(xlabel="lowest confidence let out", ylabel="precision of what leaves (%)", title=title)
        axes.set_ylim(max(0, low - 5), 101)
        axes.legend(loc="lower right", fontsize=9)
    return figure


@drawn_from_table
def thresholds(table: pd.DataFrame) -> Figure:
    """Heat map of the thresholds of all classes and branches (``rule_sweep.threshold_table``)."""
    grid = table.pivot(index="class", columns="branch", values="threshold").loc[table["class"].unique()]
    never = ~np.isfinite(grid)
    figure, axes = plt.subplots(figsize=(5.6, max(4.6, 0.2 * len(grid))))
    heat_map(axes, grid.mask(never), ".2f", "confidence needed to leave", vmin=0.2, vmax=1)
    axes.set_facecolor(PALE)  # of cells that have no threshold
    for row, column in np.argwhere(never.to_numpy()):
        axes.text(column + 0.5, row + 0.5, "never", ha="center", va="center", color=INK)
    axes.grid(False)
    grey = "; grey: here it never does" if never.any(axis=None) else ""
    axes.set(xlabel="branch", ylabel="", title=f"What a class needs to leave{grey}")
    return figure


@drawn_from_table
def margin_effect(table: pd.DataFrame) -> Figure:
    """Share of images by exit, and the drop, as one margin goes from strict to loose (``sweep_rules``)."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.5, 5.4), sharex=True, height_ratios=(2, 1))
    table = table.sort_values("knob")
    knob = 100 * table["knob"]
    exits = [name for name in table.columns if name.startswith("exit")]
    labels = [f"branch {b}" for b in range(1, len(exits))] + ["backbone"]
    colours = (*BRANCH_COLOURS[: len(exits) - 1], "#D9D9D9")
    top.stackplot(knob, *(100 * table[name] for name in exits), labels=labels, colors=colours)
    title = "A looser margin lets more images out earlier"
    top.set(ylabel="test images leaving (%)", ylim=(0, 100), title=title)
    top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    bottom.plot(knob, table["drop"], "o-", color=ORANGE)
    bottom.axhline(0, color=GREY, lw=1)
    knobs = "margin at every branch (precision points; strict on the left, loose on the right)"
    bottom.set(xlabel=knobs, ylabel="accuracy drop\n(points)")
    return figure


@drawn_from_table
def one_class(table: pd.DataFrame) -> Figure:
    """One class at one branch: what is promised on valid, and what is delivered on test.

    A row a confidence and group, all images before survivors: those of ``rule_sweep.search_table``, ``group``,
    ``branch``, and of test ``exits``, ``delivered`` (their precision), ``low`` and ``high``.
    """
    look = {"layout": "constrained", "width_ratios": (3, 2), "sharey": True}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), **look)
    groups = list(table.groupby("group", sort=False))
    for place, ((group, rows), colour) in enumerate(zip(groups, (GREY, ORANGE), strict=False)):
        _promised(left, group, rows, colour)
        _delivered(right, place, rows.iloc[0], colour)
    bar = 100 * table["bar"].iloc[0]
    for axes in (left, right):
        axes.axhline(bar, color=INK, ls="--", lw=1.5, label=f"bar: {bar:.1f} %")
    left.set_xlabel("lowest confidence let out", fontsize=12)
    left.set_ylabel("precision of what leaves (%)", fontsize=12)
    left.set_title(f"Promised on valid: {table['class'][0]}, branch {table['branch'][0]}", fontsize=13)
    left.legend(fontsize=11, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    right.set_title("Delivered on test, with its 95 % interval", fontsize=13)
    names = [f"calibrated on\n{group}\n{rows['exits'].iloc[0]:.0f} leave" for group, rows in groups]
    right.set_xticks(range(len(groups)), names, fontsize=12)
    right.set_xlim(-0.5, len(groups) - 0.2)
    right.grid(axis="x", visible=False)
    return figure


def _promised(axes: Axes, group: str, rows: pd.DataFrame, colour: str) -> None:
    """The precision above each confidence on some images, and the threshold that follows."""
    threshold = rows["threshold"].iloc[0]
    if np.isfinite(threshold):
        axes.axvline(threshold, color=colour, ls=":", lw=2.5)
    words = f"lets out from {threshold:.4f}" if np.isfinite(threshold) else "never lets out"
    axes.plot(rows["confidence"], 100 * rows["precision"], color=colour, lw=2.5, label=f"{group}: {words}")


def _delivered(axes: Axes, place: int, row: pd.Series, colour: str) -> None:
    """The precision of what leaves on test, with its interval."""
    if row["exits"]:
        delivered, low, high = (100 * row[each] for each in ("delivered", "low", "high"))
        reach = [[delivered - low], [high - delivered]]
        axes.errorbar(place, delivered, yerr=reach, fmt="o", ms=12, color=colour, capsize=7, lw=2)
        beside = {"xytext": (14, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{delivered:.1f} %", (place, delivered), fontsize=13, **beside)


@drawn_from_table
def promises(table: pd.DataFrame) -> Figure:
    """Achieved precision less the bar, by branch and calibration (``promises.check_promises``)."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True)
    titles = {"full": "Calibrated on all images", "survivors": "Calibrated on survivors"}
    broken, ceiling = table["broken"].astype(bool), table["at_ceiling"].astype(bool)
    kinds = {
        "kept, or too few to tell": (~broken & ~ceiling, BLUE),
        "broken": (broken, ORANGE),
        "bar of 100 %": (ceiling, GREY),
    }
    over = 100 * (table["precision"] - table["bar"])
    size = 6 + 60 * np.sqrt(table["exits"] / table["exits"].max())
    groups = table.groupby(["calibration", "branch"])
    place = table["branch"] + 0.7 * (groups.cumcount() / groups["bar"].transform("size") - 0.5)
    for axes, (calibration, title) in zip(panels, titles.items(), strict=True):
        here = table["calibration"] == calibration
        for name, (chosen, colour) in kinds.items():
            rows = here & chosen
            axes.scatter(place[rows], over[rows], s=size[rows], color=colour, alpha=0.5, lw=0, label=name)
        # Branch 1 meets all images: both calibrations are the same there.
        share = 100 * broken[here & ~ceiling & (table["branch"] > table["branch"].min())].mean()
        axes.axhline(0, color=INK, lw=1)
        branches = sorted(table["branch"].unique())
        axes.set(xticks=branches, xlim=(branches[0] - 0.5, branches[-1] + 0.5), xlabel="branch")
        axes.set_title(f"{title}:\n{share:.0f} % broken behind branch 1, all margins together")
    panels[0].set(ylabel="precision on test less its bar (points)")
    panels[1].legend(loc="lower left", fontsize=9, title="a dot: a class, sized by its exits", title_fontsize=9)
    return figure


@drawn_from_table
def kept_promises(table: pd.DataFrame) -> Figure:
    """How often rules keep their promise elsewhere, and what they save (``kept_promises.summary``)."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 0.9 + 0.5 * len(table)), sharey=True)
    measures = {
        "kept": ("Promises kept, class by class (filled)", "classes and branches (%)"),
        "reduction": ("Computation saved", "MACs of the backbone (%)"),
    }
    for axes, (name, (title, label)) in zip(panels, measures.items(), strict=True):
        for place, row in enumerate(table.itertuples()):
            value, low, high = (100 * getattr(row, each) for each in (name, f"{name}_low", f"{name}_high"))
            axes.plot([low, high], [place, place], color=RULE_COLOURS[place], lw=2)
            axes.plot(value, place, "o", ms=9, color=RULE_COLOURS[place])
            axes.annotate(f"{value:.0f}", (value, place), (0, 8), textcoords="offset points", ha="center")
        axes.set(title=title, xlabel=label, ylim=(len(table) - 0.5, -0.8))
    together = 100 * table["kept_together"]
    panels[0].plot(together, range(len(table)), "D", mfc="none", color=INK, label="all classes together")
    panels[0].legend(loc="upper right", fontsize=8)
    panels[0].set_yticks(range(len(table)), table["rule"])
    panels[0].set_xlim(0, 104)
    if table["kept"].notna().any():  # where nothing leaves, nothing has been promised
        best = table.loc[table["kept"].idxmax()]
        cost = f"{best['saved_less']:.0f} points of computation saved less"
        headline(figure, f"{best['rule']}: kept most often, {cost}")
    return figure


@drawn_from_table
def rules(table: pd.DataFrame) -> Figure:
    """Drop against reduction for exit rules, with intervals (``rule_sweep.sweep_rules``)."""
    figure, axes = plt.subplots(figsize=(8, 4.6))
    bare = ("confidence", "difference of two", "entropy")
    labels = {"CPM": "CPM: a threshold per class"} | {name: f"one threshold: {name}" for name in bare}
    curves = {rule: rows.sort_values("reduction") for rule, rows in table.groupby("rule", sort=False)}
    for (rule, rows), colour in zip(curves.items(), RULE_COLOURS, strict=False):
        curve_of_drops(axes, rows, colour, labels.get(rule, rule))
    title = f"Lower is better: {len(curves)} exit rules, the same branches"
    frame_of_drops(axes, title, "computation saved (%)", loc="upper left")
    return figure
