"""The figures of notebook 05: evaluation."""

import textwrap

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.evaluation import BASELINE, BTS_EE, FIRST_BRANCH, TIES, of_cell
from btsee_lib.plots.panels import curve_of_drops, frame_of_drops, heat_map, panels_of
from btsee_lib.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, drawn_from_table
from btsee_lib.studies.claims import REPRODUCED
from btsee_lib.studies.rivals import CASCADES, STATIC

NAMES = {
    BASELINE: ("baseline: independent, calibrated on all", GREY),
    BASELINE._replace(calibration=BTS_EE.calibration): ("calibration alone: independent, on survivors", GREEN),
    BTS_EE._replace(calibration=BASELINE.calibration): ("training alone: boosted, calibrated on all", PURPLE),
    BTS_EE: ("BTS-EE: boosted, on survivors", BLUE),
}
FIRST_ALONE = ("branch 1 alone, then the backbone", ORANGE)


@drawn_from_table
def fronts(table: pd.DataFrame) -> Figure:
    """The configurations of baseline, branch 1 alone and BTS-EE, with their fronts (``evaluation.fronts``)."""
    figure, axes = plt.subplots(figsize=(8, 4.6))
    drawn = {BASELINE: NAMES[BASELINE], FIRST_BRANCH: FIRST_ALONE, BTS_EE: NAMES[BTS_EE]}
    for cell, (name, colour) in drawn.items():
        rows = of_cell(table, cell)
        if rows.empty:
            continue
        front = rows[rows["on_front"].astype(bool)].sort_values("reduction")
        axes.scatter(100 * rows["reduction"], rows["drop"], s=18, color=colour, alpha=0.45, lw=0)
        curve_of_drops(axes, front, colour, name)
        if cell == BTS_EE:
            _point_out(axes, rows, colour)
    title = "Computation saved against accuracy lost: each dot a configuration, mean of the seeds"
    frame_of_drops(axes, title, loc="upper left")
    return figure


def _point_out(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Mark the configuration that is recommended for the smallest allowed drop, by what it does on test."""
    if rows["recommended"].isna().all():
        return
    best = rows.loc[rows["recommended"].idxmin()]
    place = (100 * best["reduction"], best["drop"])
    axes.scatter(*place, marker="*", s=220, color=colour, edgecolor="white", zorder=5)
    label = f"{place[0]:.0f} % saved for {place[1]:.1f} points"
    look = {"ha": "right", "color": colour, "weight": "bold"}
    arrow = {"arrowstyle": "-", "color": colour}
    axes.annotate(label, place, (0.97, 0.08), textcoords="axes fraction", arrowprops=arrow, **look)


@drawn_from_table
def equal_compute(table: pd.DataFrame) -> Figure:
    """Gain over the baseline's front at equal reduction (``comparison.gains_at_equal_compute``)."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), sharex=True, sharey=True)
    for axes, (cell, (name, colour)) in zip(panels, list(NAMES.items())[1:], strict=True):
        rows = of_cell(table, cell)
        whole = rows[rows["reduction"].isna()].iloc[0]
        rows = rows.dropna(subset="reduction")
        axes.fill_between(100 * rows["reduction"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        axes.plot(100 * rows["reduction"], rows["gain"], color=colour, lw=2)
        axes.axhline(0, color=INK, lw=1)
        span = f"{whole['gain']:+.2f} ({whole['low']:+.2f} to {whole['high']:+.2f})"
        axes.set(xlabel="computation saved (%)", title=f"{name.split(':')[0]}\nmean {span}")
    panels[0].set_ylabel("accuracy gained over\nthe baseline (points)")
    return figure


@drawn_from_table
def equal_margins(table: pd.DataFrame) -> Figure:
    """BTS-EE against each rival at equal margins, a point a configuration (``comparison.at_equal_margins``)."""
    figure, panels = panels_of(table, "rival", (5, 4), sharey=True)
    drop, share = TIES
    for rival, rows, axes in panels:
        more, less = 100 * rows["more_reduction"], rows["less_drop"]
        both = ((more > 100 * share) & (less > drop)), ((more < -100 * share) & (less < -drop))
        for chosen, colour in ((both[0], GREEN), (both[1], ORANGE), (~both[0] & ~both[1], GREY)):
            axes.scatter(more[chosen], less[chosen], s=22, color=colour, alpha=0.8, lw=0)
        axes.axhline(0, color=INK, lw=1)
        axes.axvline(0, color=INK, lw=1)
        # Between the title and the plot: no point or line can lie there.
        words = {"xycoords": "axes fraction", "fontsize": 9}
        axes.annotate(f"better in both: {both[0].sum()}", (1, 1.02), ha="right", color=GREEN, **words)
        axes.annotate(f"worse in both: {both[1].sum()}", (0, 1.02), color=ORANGE, **words)
        axes.set_title(f"against the {rival}", pad=20)
        axes.set_xlabel("computation saved more (points of %)")
    figure.axes[0].set_ylabel("accuracy lost less (points)")
    return figure


@drawn_from_table
def rivals(table: pd.DataFrame) -> Figure:
    """Fronts of cascades, and networks that never stop early (``rivals.beside_networks``)."""
    figure, axes = plt.subplots(figsize=(8, 4.6))
    for cell in CASCADES:
        rows = of_cell(table, cell).sort_values("reduction")
        curve_of_drops(axes, rows, NAMES[cell][1], NAMES[cell][0])
    static = of_cell(table, STATIC).sort_values("reduction")
    curve_of_drops(axes, static, ORANGE, "narrower networks that never stop early")
    for row in static[static["width"].notna()].itertuples():
        place = (100 * row.reduction, row.drop)
        axes.annotate(f"width {row.width:.0f}", place, (6, -12), textcoords="offset points", color=ORANGE)
    frame_of_drops(axes, "Lower is better: cascades against networks that are narrower", loc="upper left")
    return figure


@drawn_from_table
def class_exits(table: pd.DataFrame) -> Figure:
    """Where the images of each class leave (``evaluation.class_exits``)."""
    grid = 100 * table.pivot(index="class", columns="exit", values="share").sort_values(1, ascending=False)
    figure, axes = plt.subplots(figsize=(6.4, max(4.4, 0.2 * len(grid))))
    grid = grid.set_axis([f"branch {b}" for b in grid.columns[:-1]] + ["backbone"], axis=1)
    heat_map(axes, grid, ".0f", "test images of the class (%)", vmin=0, vmax=100)
    axes.set(xlabel="", ylabel="", title="Where the images of each class leave")
    return figure


@drawn_from_table
def verdicts_by_backbone(table: pd.DataFrame) -> Figure:
    """What was measured of each claim on each backbone, its cell coloured by the verdict (``claims_table``)."""
    claims, seeds = table["claim"].unique(), table["backbone_seed"].unique()
    verdicts, words = (
        table.pivot(index="claim", columns="backbone_seed", values=name).loc[claims, seeds]
        for name in ("verdict", "measured")
    )
    holds = (verdicts == REPRODUCED).astype(float)
    figure, axes = plt.subplots(figsize=(6.5 + 0.9 * len(seeds), 0.5 * len(claims) + 1.2))
    labels = [textwrap.fill(claim, 60) for claim in claims]
    look = {"cmap": [PALE, SKY], "vmin": 0, "vmax": 1, "cbar": False, "linewidths": 2, "yticklabels": labels}
    sns.heatmap(holds, annot=words.map("{:.2f}".format), fmt="", ax=axes, annot_kws={"color": INK}, **look)
    same = int((holds.nunique(axis=1) == 1).sum())
    told = f"{same} of {len(claims)} verdicts are the same on all {len(seeds)} backbones"
    axes.set(xlabel="seed of the backbone", ylabel="", title=f"{told}\n(blue: reproduced here; grey: not)")
    return figure
