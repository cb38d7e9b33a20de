"""One function a figure: a table in, a matplotlib figure out.

A figure has the name of its table, so ``reports/figures/fronts.png`` is ``fronts(table)`` of
``reports/tables/fronts.csv`` and can be drawn again without computing anything. Colours are those of
Okabe and Ito, told apart by colour-blind readers; a colour stands for one thing in all notebooks.
"""

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, BLUE, ORANGE, GREEN, PURPLE, SKY = (
    "#333333",
    "#8C8C8C",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
)
FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {}

sns.set_theme(style="whitegrid", font="DejaVu Sans")
mpl.rcParams.update(
    {
        "figure.dpi": 110,
        "savefig.dpi": 150,
        "savefig.bbox": "tight",
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


def drawn_from_table(function: Callable[[pd.DataFrame], Figure]) -> Callable[[pd.DataFrame], Figure]:
    """Register a figure under its function's name, which is the name of its table."""
    FIGURES[function.__name__] = function
    return function


# Notebook 01: the data


@drawn_from_table
def nearest_mean_confusion(table: pd.DataFrame) -> Figure:
    """Which class the nearest mean gives to the images of each class (``label, predicted, share``)."""
    return _confusion(table, PURPLE, "Where the nearest mean sends the images of each class (%)")


@drawn_from_table
def accuracy_by_clarity(table: pd.DataFrame) -> Figure:
    """Accuracy of ten groups of images, from unclear to clear (``group, accuracy, low, high``)."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    accuracy = 100 * table["accuracy"]
    axes.bar(table["group"], accuracy, color=PURPLE, width=0.75)
    reach = [accuracy - 100 * table["low"], 100 * table["high"] - accuracy]
    axes.errorbar(table["group"], accuracy, yerr=reach, fmt="none", ecolor=INK, capsize=3, lw=1)
    average = accuracy.mean()
    axes.axhline(average, color=INK, lw=1, ls="--")
    axes.annotate(
        f"all images: {average:.0f} %", (0.45, average), (0, 4), textcoords="offset points", fontsize=9
    )
    axes.set(
        xlabel="tenth of the images, from the least clear to the clearest",
        ylabel="accuracy (%)",
        title="The classifier's own clarity tells which answers to trust",
        xticks=table["group"],
        ylim=(0, 104),
    )
    axes.grid(axis="x", visible=False)
    return figure


@drawn_from_table
def class_mix(table: pd.DataFrame) -> Figure:
    """Share of each class in all images and in the unclear half (``name, all, unclear``)."""
    rows = table.sort_values("unclear").reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.hlines(rows.index, 100 * rows["all"], 100 * rows["unclear"], color=ORANGE, lw=2, alpha=0.5)
    axes.plot(100 * rows["all"], rows.index, "|", color=GREY, ms=14, mew=2.5, label="all images")
    axes.plot(100 * rows["unclear"], rows.index, "o", color=ORANGE, ms=8, label="the unclear half")
    axes.set(
        xlabel="share of the class (%)",
        title="The images left over are another mix of classes",
        yticks=rows.index,
        yticklabels=rows["name"],
    )
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
    return figure


def _confusion(table: pd.DataFrame, colour: str, title: str) -> Figure:
    names = table["label"].unique()
    shares = 100 * table.pivot(index="label", columns="predicted", values="share").loc[names, names]
    figure, axes = plt.subplots(figsize=(7, 5.6), layout="constrained")
    sns.heatmap(
        shares,
        annot=shares.map(lambda share: f"{share:.0f}" if share > 0.5 else ""),
        fmt="",
        annot_kws={"size": 9},
        cmap=sns.light_palette(colour, as_cmap=True),
        vmin=0,
        vmax=100,
        square=True,
        cbar=False,
        linewidths=0.5,
        ax=axes,
    )
    axes.set(xlabel="predicted", ylabel="true class", title=title)
    axes.set_xticklabels(names, rotation=40, ha="right")
    axes.tick_params(axis="y", rotation=0)
    return figure


# Notebook 02: the backbone


@drawn_from_table
def stage_costs(table: pd.DataFrame) -> Figure:
    """MACs, their running total and the parameters of the four stages (``stage, macs, parameters``)."""
    figure, (left, centre, right) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharey=True)
    stages = table["stage"].astype(str)
    macs = 100 * table["macs"] / table["macs"].sum()
    weights = 100 * table["parameters"] / table["parameters"].sum()
    panels = (
        (left, macs, "MACs (% of all)", "Stages cost about the same ..."),
        (centre, macs.cumsum(), "MACs up to here (% of all)", "... so leaving early saves much"),
        (right, weights, "parameters (% of all)", "Most parameters come last"),
    )
    for axes, values, label, title in panels:
        bars = axes.barh(stages, values, color=GREEN, height=0.65)
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
        axes.set(xlabel=label, title=title, xlim=(0, 1.16 * values.max()))
        axes.grid(axis="y", visible=False)
    left.set(ylabel="stage")
    left.invert_yaxis()
    return figure


@drawn_from_table
def learning_curve(table: pd.DataFrame) -> Figure:
    """Losses and watched validation accuracy by epoch (``train_backbone``, with ``image_size``)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
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
        size = int(small["image_size"].max())
        label = f"trained on {size} x {size} pixels"
        right.annotate(label, (0.03, 0.95), xycoords="axes fraction", va="top", fontsize=9)
    left.legend()
    return figure


@drawn_from_table
def confusion(table: pd.DataFrame) -> Figure:
    """Which class the backbone gives to the images of each class (``label, predicted, share``)."""
    return _confusion(table, GREEN, "Where the backbone sends the images of each class (%)")


@drawn_from_table
def class_precision(table: pd.DataFrame) -> Figure:
    """How often the backbone is right when it says a class (``name, precision, low, high``)."""
    rows = table.sort_values("precision").reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    precision = 100 * rows["precision"]
    reach = [precision - 100 * rows["low"], 100 * rows["high"] - precision]
    axes.errorbar(precision, rows.index, xerr=reach, fmt="o", color=GREEN, ms=7, capsize=3)
    axes.set(
        xlabel="precision (%), with its interval",
        title="How often the backbone is right when it says ...",
        yticks=rows.index,
        yticklabels=rows["name"],
        ylim=(-0.6, len(rows) - 0.4),
    )
    axes.grid(axis="y", visible=False)
    return figure


# Notebook 03: boosted branches


@drawn_from_table
def branch_width(table: pd.DataFrame) -> Figure:
    """Validation accuracy of each branch against its cost (``studies.branch_width``)."""
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for (number, rows), colour in zip(table.groupby("branch"), (SKY, BLUE, INK), strict=True):
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
    for number, colour, marker in ((2, BLUE, "o"), (3, INK, "s")):
        rows = table[table["branch"] == number]
        axes.scatter(
            rows["train_survivors"],
            rows["gain"],
            color=colour,
            marker=marker,
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
    middle = {"xycoords": "axes fraction", "ha": "center", "fontsize": 9, "color": GREY}
    axes.annotate("boosting pays", (0.5, 0.94), **middle)
    axes.annotate("boosting costs", (0.5, 0.04), **middle)
    axes.legend(loc="lower right")
    return figure


# Notebook 04: Class Precision Margin


@drawn_from_table
def threshold_search(table: pd.DataFrame) -> Figure:
    """Precision above each confidence, with bar and threshold (``exit_rules.search_table``)."""
    names = table["class"].unique()
    figure, panels = plt.subplots(
        1, len(names), figsize=(4.6 * len(names), 3.8), layout="constrained", squeeze=False
    )
    for axes, name in zip(panels[0], names, strict=True):
        rows = table[table["class"] == name]
        bar, threshold = rows["bar"].iloc[0], rows["threshold"].iloc[0]
        leaving = rows[rows["confidence"] >= threshold]
        axes.plot(rows["confidence"], 100 * rows["precision"], color=GREY, lw=1.5)
        axes.plot(leaving["confidence"], 100 * leaving["precision"], color=BLUE, lw=2.5, label="these leave")
        axes.axhline(100 * bar, color=ORANGE, ls="--", lw=1.2, label=f"bar {100 * bar:.1f} %")
        if len(leaving):
            axes.axvline(threshold, color=INK, ls=":", lw=1.2, label=f"threshold {threshold:.2f}")
        share = leaving["support"].max() / rows["support"].max() if len(leaving) else 0
        axes.set(
            xlabel="lowest confidence let out",
            ylabel="precision of what leaves (%)",
            title=f"{name}: {100 * share:.0f} % may leave",
        )
        axes.legend(loc="lower right", fontsize=9)
    low = 100 * table["precision"].quantile(0.02)
    for axes in panels[0]:
        axes.set_ylim(max(0, low - 5), 101)
    return figure


@drawn_from_table
def thresholds(table: pd.DataFrame) -> Figure:
    """Heat map of the thresholds of all classes and branches (``exit_rules.threshold_table``)."""
    grid = table.pivot(index="class", columns="branch", values="threshold").loc[table["class"].unique()]
    never = ~np.isfinite(grid)
    figure, axes = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    labels = grid.map(lambda value: f"{value:.2f}" if np.isfinite(value) else "never")
    sns.heatmap(
        grid.mask(never, 1.0),
        annot=labels,
        fmt="",
        cmap="Blues",
        vmin=0.2,
        vmax=1,
        linewidths=1,
        ax=axes,
        cbar_kws={"label": "confidence needed to leave"},
    )
    axes.set(xlabel="branch", ylabel="", title="Thresholds follow the bar as much as the difficulty")
    return figure


@drawn_from_table
def margin_effect(table: pd.DataFrame) -> Figure:
    """Share of images by exit, and the drop, as one margin goes from strict to loose (``sweep_rules``)."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7.5, 5.4), sharex=True, layout="constrained", height_ratios=(2, 1)
    )
    table = table.sort_values("knob")
    exits = [name for name in table.columns if name.startswith("exit")]
    labels = [f"branch {b}" for b in range(1, len(exits))] + ["backbone"]
    top.stackplot(
        100 * table["knob"],
        *(100 * table[name] for name in exits),
        labels=labels,
        colors=(SKY, BLUE, INK, "#D9D9D9"),
    )
    top.set(
        ylabel="test images leaving (%)", ylim=(0, 100), title="A looser margin lets more images out earlier"
    )
    top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    bottom.plot(100 * table["knob"], table["drop"], "o-", color=ORANGE)
    bottom.axhline(0, color=GREY, lw=1)
    bottom.set(
        xlabel="margin at every branch (precision points; strict on the left, loose on the right)",
        ylabel="accuracy drop\n(points)",
    )
    return figure


@drawn_from_table
def promises(table: pd.DataFrame) -> Figure:
    """Achieved precision less the bar, by branch and calibration (``exit_rules.promises``)."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True, layout="constrained")
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
        share = 100 * broken[here & ~ceiling].mean()
        axes.axhline(0, color=INK, lw=1)
        axes.set(xticks=[1, 2, 3], xlim=(0.5, 3.5), xlabel="branch", title=f"{title}: {share:.0f} % broken")
    panels[0].set(ylabel="precision on test less its bar (points)")
    panels[1].legend(loc="lower left", fontsize=9, title="a dot: a class, sized by its exits", title_fontsize=9)
    return figure


@drawn_from_table
def rules(table: pd.DataFrame) -> Figure:
    """Drop against reduction for three exit rules, with intervals (``exit_rules.sweep_rules``)."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for (rule, rows), colour in zip(table.groupby("rule", sort=False), (BLUE, ORANGE, GREEN), strict=True):
        rows = rows.sort_values("reduction")
        axes.fill_between(
            100 * rows["reduction"], rows["drop_low"], rows["drop_high"], color=colour, alpha=0.12, lw=0
        )
        label = {
            "CPM": "CPM: a threshold per class",
            "confidence": "one confidence threshold",
            "entropy": "one entropy threshold",
        }
        axes.plot(100 * rows["reduction"], rows["drop"], "o-", ms=4, color=colour, label=label.get(rule, rule))
    axes.axhline(0, color=GREY, lw=1)
    axes.set(
        xlabel="computation saved (%)",
        ylabel="accuracy drop on test (points)",
        title="Lower is better: three exit rules, the same branches",
    )
    axes.legend(loc="upper left")
    return figure


# Notebook 05: evaluation

NAMES = {
    ("independent", "full"): ("baseline: independent, calibrated on all", GREY),
    ("independent", "survivors"): ("calibration alone: independent, on survivors", GREEN),
    ("boosted", "full"): ("training alone: boosted, calibrated on all", PURPLE),
    ("boosted", "survivors"): ("BTS-EE: boosted, on survivors", BLUE),
}


@drawn_from_table
def fronts(table: pd.DataFrame) -> Figure:
    """The 64 configurations of baseline and BTS-EE, with their fronts (``evaluation.fronts``)."""
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for cell in (("independent", "full"), ("boosted", "survivors")):
        rows = table[(table["training"] == cell[0]) & (table["calibration"] == cell[1])]
        front = rows[rows["on_front"].astype(bool)].sort_values("reduction")
        name, colour = NAMES[cell]
        axes.scatter(100 * rows["reduction"], rows["drop"], s=18, color=colour, alpha=0.45, lw=0)
        axes.fill_between(
            100 * front["reduction"], front["drop_low"], front["drop_high"], color=colour, alpha=0.12, lw=0
        )
        axes.plot(100 * front["reduction"], front["drop"], "o-", ms=4, color=colour, label=name)
        if cell == ("boosted", "survivors"):
            _point_out(axes, rows, colour)
    axes.axhline(0, color=GREY, lw=1)
    axes.set(
        xlabel="computation saved (% of the backbone's MACs)",
        ylabel="accuracy drop on test (points)",
        title="Computation saved against accuracy lost: each dot one of 64 configurations, mean of the seeds",
    )
    axes.legend(loc="upper left")
    return figure


def _point_out(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Mark the configuration that is recommended for the smallest allowed drop, by what it does on test."""
    if rows["recommended"].isna().all():
        return
    best = rows.loc[rows["recommended"].idxmin()]
    place = (100 * best["reduction"], best["drop"])
    axes.scatter(*place, marker="*", s=220, color=colour, edgecolor="white", zorder=5)
    axes.annotate(
        f"{place[0]:.0f} % saved for {place[1]:.1f} points",
        place,
        (0.97, 0.08),
        textcoords="axes fraction",
        ha="right",
        color=colour,
        weight="bold",
        arrowprops={"arrowstyle": "-", "color": colour},
    )


def _span(row: pd.Series) -> str:
    return f"{row['gain']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


@drawn_from_table
def equal_compute(table: pd.DataFrame) -> Figure:
    """Gain over the baseline's front at equal reduction (``comparison.gains_at_equal_compute``)."""
    cells = list(NAMES)[1:]
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), sharex=True, sharey=True, layout="constrained")
    for axes, cell in zip(panels, cells, strict=True):
        rows = table[(table["training"] == cell[0]) & (table["calibration"] == cell[1])]
        whole = rows[rows["reduction"].isna()].iloc[0]
        rows = rows.dropna(subset="reduction")
        name, colour = NAMES[cell]
        axes.fill_between(100 * rows["reduction"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        axes.plot(100 * rows["reduction"], rows["gain"], color=colour, lw=2)
        axes.axhline(0, color=INK, lw=1)
        axes.set(
            xlabel="computation saved (%)",
            title=f"{name.split(':')[0]}\nmean {_span(whole)}",
        )
    panels[0].set_ylabel("accuracy gained over\nthe baseline (points)")
    return figure


@drawn_from_table
def wins(table: pd.DataFrame) -> Figure:
    """BTS-EE against the baseline at each configuration, as heat maps (``comparison.paired_wins``)."""
    values = sorted(table["m1"].unique())
    figure, panels = plt.subplots(
        1, len(values), figsize=(2.9 * len(values), 3.5), sharey=True, layout="constrained", squeeze=False
    )
    bound = max(0.1, table["gain"].abs().max())
    for axes, m1 in zip(panels[0], values, strict=True):
        grid = table[table["m1"] == m1].pivot(index="m2", columns="m3", values="gain")
        sns.heatmap(
            grid,
            annot=True,
            fmt="+.2f",
            annot_kws={"fontsize": 8},
            cmap="RdBu",
            center=0,
            vmin=-bound,
            vmax=bound,
            cbar=axes is panels[0][-1],
            cbar_kws={"label": "gain (points)"},
            linewidths=0.5,
            ax=axes,
        )
        axes.set(title=f"$m_1$ = {m1:g}", xlabel="$m_3$", ylabel="$m_2$" if axes is panels[0][0] else "")
    won, lost = int((table["gain"] > 1e-6).sum()), int((table["gain"] < -1e-6).sum())
    figure.suptitle(
        f"BTS-EE against the baseline at equal compute: {won} wins (blue), {lost} losses (red)",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return figure


@drawn_from_table
def class_exits(table: pd.DataFrame) -> Figure:
    """Where the images of each class leave (``evaluation.class_exits``)."""
    grid = 100 * table.pivot(index="class", columns="exit", values="share")
    grid = grid.sort_values(1, ascending=False)
    labels = [f"branch {b}" for b in grid.columns[:-1]] + ["backbone"]
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    sns.heatmap(
        grid,
        annot=True,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100,
        linewidths=1,
        ax=axes,
        xticklabels=labels,
        cbar_kws={"label": "test images of the class (%)"},
    )
    axes.set(xlabel="", ylabel="", title="Where the images of each class leave")
    return figure
