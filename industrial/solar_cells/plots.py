"""The figures of notebook 07: industrial inspection."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.plots import branches as plots_branches
from btsee_lib.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, drawn_from_table
from solar_cells.folds import EQUAL, UNEQUAL
from solar_cells.inspection import BACKBONE, SCHEMES

KINDS = {EQUAL: (BLUE, "equal margins"), UNEQUAL: (ORANGE, "stricter for functional")}
ALL_CELLS = "all cells"  # the group of all folds together
SPLITS = {"train": SKY, "valid": PURPLE, "test": ORANGE}


@drawn_from_table
def module_defects(table: pd.DataFrame) -> Figure:
    """Share of defective cells a module (``module, type, cells, defective, split``)."""
    figure, panels = plt.subplots(2, 1, figsize=(8, 4.6), sharey=True, layout="constrained")
    for axes, (kind, rows) in zip(panels, table.groupby("type"), strict=True):
        rows = rows.sort_values("defective").reset_index(drop=True)
        for split, colour in SPLITS.items():
            mine = rows[rows["split"] == split]
            axes.bar(mine.index, 100 * mine["defective"], color=colour, label=split)
        share = 100 * (rows["defective"] * rows["cells"]).sum() / rows["cells"].sum()
        axes.axhline(share, color=INK, lw=1, ls="--")
        axes.annotate(
            f"all cells: {share:.0f} %", (-0.5, share), (0, 3), textcoords="offset points", fontsize=9
        )
        least, most = 100 * rows["defective"].min(), 100 * rows["defective"].max()
        axes.set(
            title=f"{kind}crystalline: {least:.0f} to {most:.0f} % of the cells of a module are defective",
            ylabel="defective cells (%)",
            ylim=(0, 100),
            xticks=[],
        )
        axes.grid(axis="x", visible=False)
    panels[0].legend(title="split of fold 0", loc="upper left", ncols=3)
    panels[1].set_xlabel("modules, from the soundest to the worst")
    return figure


@drawn_from_table
def leakage(table: pd.DataFrame) -> Figure:
    """Accuracy of a simple classifier, by kind of split, seed and fold (``leakage.by_deal``)."""
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    lines = np.linspace(-0.24, 0.24, table["seed"].nunique())
    for place, (_, rows) in enumerate(table.groupby("split", sort=False)):
        colour = (ORANGE, GREEN)[place]
        for line, (_, deal) in zip(lines, rows.groupby("seed"), strict=True):
            axes.plot(100 * deal["accuracy"], [place + line] * len(deal), "o", color=colour, alpha=0.6, ms=5)
        mean = 100 * rows["accuracy"].mean()
        axes.plot([mean, mean], [place - 0.32, place + 0.32], color=colour, lw=3)
        axes.annotate(
            f"{mean:.1f} %", (mean, place + 0.34), (0, 2), textcoords="offset points", ha="center", color=colour
        )
    majority = 100 * table["majority"].mean()
    axes.axvline(majority, color=INK, lw=1, ls="--")
    axes.annotate("always functional", (majority, -0.45), (4, 0), textcoords="offset points", fontsize=9)
    axes.set(
        yticks=[0, 1],
        yticklabels=list(table["split"].unique()),
        ylim=(-0.6, 1.6),
        xlabel="accuracy of a support vector machine (%); a row: a deal, a dot: a fold, a bar: the mean",
        title="Dealt at random, cells are tested beside cells of their own module",
    )
    axes.grid(axis="y", visible=False)
    return figure


@drawn_from_table
def boosting_gains(table: pd.DataFrame) -> Figure:
    """Gain of boosted training against the number of training examples (``survivors.training_gains``).

    In the column ``train_examples`` a cell counts as often as it is shown in an epoch.
    """
    figure = plots_branches.training_gains(table.rename(columns={"train_examples": "train_survivors"}))
    figure.axes[0].set_xlabel("training examples that survive, a cell counts several times (logarithmic)")
    ahead = int((table["gain"] > 0).sum())
    figure.axes[0].set_title(f"Training on survivors is ahead at {ahead} of {len(table)} branches")
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, measure: str, colour: str, place: pd.Series) -> None:
    value = 100 * rows[measure]
    reach = [value - 100 * rows[f"{measure}_low"], 100 * rows[f"{measure}_high"] - value]
    axes.errorbar(value, place, xerr=reach, fmt="o", color=colour, ms=7, capsize=3)


@drawn_from_table
def backbone_folds(table: pd.DataFrame) -> Figure:
    """Missed defects and false alarms of the backbone, by fold and in all (``module_intervals.summarise``)."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    place = pd.Series(range(len(table)), index=table.index)
    titles = (("missed", "Missed defects", ORANGE), ("alarms", "False alarms", BLUE))
    for axes, (measure, title, colour) in zip(panels, titles, strict=True):
        _bars(axes, table, measure, colour, place)
        by_fold = 100 * table.loc[table["group"] != ALL_CELLS, measure]
        title = f"{title}: {by_fold.min():.0f} to {by_fold.max():.0f} %, by fold"
        axes.set(title=title, xlabel=f"{'defective' if measure == 'missed' else 'functional'} cells (%)")
        axes.grid(axis="y", visible=False)
        axes.set_xlim(left=0)
    panels[0].set(yticks=place, yticklabels=table["group"])
    panels[0].invert_yaxis()
    return figure


@drawn_from_table
def inspection_sweep(table: pd.DataFrame) -> Figure:
    """Missed defects and false alarms against saving, one margin turned (``module_intervals.summarise``)."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    labels = (
        ("missed", "missed defects (% of the defective)"),
        ("alarms", "false alarms (% of the functional)"),
    )
    for axes, (measure, label) in zip(panels, labels, strict=True):
        for kind, rows in table.groupby("scheme", sort=False):
            rows = rows.sort_values("saved")
            colour, name = KINDS[kind]
            axes.fill_between(
                100 * rows["saved"],
                100 * rows[f"{measure}_low"],
                100 * rows[f"{measure}_high"],
                color=colour,
                alpha=0.12,
                lw=0,
            )
            axes.plot(100 * rows["saved"], 100 * rows[measure], "o-", ms=4, color=colour, label=name)
        axes.axhline(
            100 * table[f"backbone_{measure}"].iloc[0], color=INK, lw=1, ls="--", label="backbone alone"
        )
        axes.set(xlabel="computation saved (%)", ylabel=label)
        axes.set_ylim(bottom=0)
        change = table.pivot(index="knob", columns="scheme", values=measure).diff(axis=1)[UNEQUAL]
        points = f"{100 * change.mean():+.1f} points".replace("-", "\N{MINUS SIGN}")
        axes.set_title(f"{label.partition(' (')[0].capitalize()}: {points} on average by the stricter margin")
    panels[0].legend(loc="lower left")
    return figure


@drawn_from_table
def inspection_schemes(table: pd.DataFrame) -> Figure:
    """Missed defects, false alarms, cost and saving of each scheme (``module_intervals.summarise``)."""
    figure, panels = plt.subplots(1, 4, figsize=(12, 3.8), sharey=True, layout="constrained")
    place = pd.Series(range(len(table)), index=table.index)
    colours = [KINDS[SCHEMES[name][1]][0] if name in SCHEMES else GREY for name in table["scheme"]]
    titles = {
        "missed": ("Missed defects", "% of the defective"),
        "alarms": ("False alarms", "% of the functional"),
        "cost": ("Cost", "false alarms a 100 cells"),
        "saved": ("Saved", "% of the backbone's computation"),
    }
    with_exits = table["scheme"] != BACKBONE
    for axes, (measure, (title, label)) in zip(panels, titles.items(), strict=True):
        for row, colour in zip(table.index, colours, strict=True):
            _bars(axes, table.loc[[row]], measure, colour, place.loc[[row]])
        axes.axvline(100 * table[measure].iloc[0], color=GREY, lw=1, ls="--")
        reached = 100 * table.loc[with_exits, measure]
        axes.set(title=f"{title}: {reached.min():.0f} to {reached.max():.0f}", xlabel=label)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(min(0, axes.get_xlim()[0]), 1.06 * axes.get_xlim()[1])
    apart = 100 * (table.loc[with_exits, "cost"] - table["cost"].iloc[0]).abs().max()
    figure.suptitle(
        f"Exits save computation; their cost is within {apart:.1f} false alarms a 100 cells of the backbone's",
        x=0.01,
        ha="left",
    )
    panels[0].set(yticks=place, yticklabels=table["scheme"])
    panels[0].invert_yaxis()
    return figure
