"""The figures of notebook 06: deployment."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES
from btsee_lib.plots.style import BLUE, GREEN, GREY, INK, ORANGE, SKY, drawn_from_table

EXIT_COLOURS = (SKY, BLUE, INK, GREY)
ENGINES = {EAGER: ("o", ORANGE), STAGES: ("s", BLUE), ONE_MODEL: ("D", GREEN)}


@drawn_from_table
def latency_by_exit(table: pd.DataFrame) -> Figure:
    """How long single images take, by the exit that they leave at (``exit, milliseconds``)."""
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    top = table.groupby("exit")["milliseconds"].quantile(0.98).max()
    bins = np.linspace(0, 1.05 * top, 90)
    for (number, rows), colour in zip(table.groupby("exit"), EXIT_COLOURS, strict=False):
        counts, _, _ = axes.hist(rows["milliseconds"], bins=bins, color=colour, alpha=0.85)
        middle = rows["milliseconds"].median()
        axes.annotate(
            f"exit {number}\n{middle:.2f} ms",
            (middle, counts.max()),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axes.set(
        xlabel="time of one image (ms)",
        ylabel="images",
        title="An image that leaves early is answered early: each exit has its own time",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    return figure


@drawn_from_table
def exit_times(table: pd.DataFrame) -> Figure:
    """Share of MACs and of time of each stage, from the times by exit (``measurements.exit_times``)."""
    widths = sorted(table["width"].unique())
    whole = table[table["branches"] == table["exit"].clip(upper=table["branches"].max())]  # all branches run
    figure, panels = plt.subplots(
        1, len(widths), figsize=(4.8 * len(widths), 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for axes, width in zip(panels[0], widths, strict=True):
        for place, (size, colour) in enumerate(
            zip(sorted(table["batch_size"].unique()), (BLUE, SKY), strict=False)
        ):
            rows = whole[(whole["width"] == width) & (whole["batch_size"] == size)].sort_values("exit")
            name = "time, one image" if size == 1 else f"time, batches of {size}"
            if place == 0:
                _steps(axes, rows["exit"] - 0.27, rows["macs"], GREY, "MACs")
            _steps(axes, rows["exit"] + 0.27 * place, rows["milliseconds"], colour, name)
        axes.set(xlabel="stage, with its branch", title=f"width {width}", xticks=sorted(table["exit"].unique()))
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.3)
    panels[0][0].set_ylabel("share of the whole way (%)")
    _headline(figure, "The share of time is not the share of MACs, and depends on the batch")
    panels[0][0].legend(loc="upper left", ncols=2, fontsize=9)
    return figure


def _steps(axes: Axes, places: pd.Series, values: pd.Series, colour: str, name: str) -> None:
    """Bars of what each value adds to the one before it, in % of the last."""
    shares = 100 * np.diff(values.to_numpy(float), prepend=0) / values.iloc[-1]
    axes.bar_label(axes.bar(places, shares, 0.25, color=colour, label=name), fmt="%.0f", fontsize=8, padding=2)


@drawn_from_table
def time_against_macs(table: pd.DataFrame) -> Figure:
    """Mean time over mean MACs (``width, engine, batch_size``; ``macs_ratio, time_ratio`` to the backbone)."""
    widths, sizes = sorted(table["width"].unique()), sorted(table["batch_size"].unique())
    figure, panels = plt.subplots(
        1, len(widths), figsize=(4.6 * len(widths) + 1.6, 4.2), sharey=True, layout="constrained", squeeze=False
    )
    area = {size: 25 + 25 * place for place, size in enumerate(sizes)}
    ends = np.array([100 * table["macs_ratio"].min() - 3, 100 * table["macs_ratio"].max() + 3])
    for axes, width in zip(panels[0], widths, strict=True):
        for engine, (marker, colour) in ENGINES.items():
            rows = table[(table["width"] == width) & (table["engine"] == engine)]
            places = 100 * rows["macs_ratio"], 100 * rows["time_ratio"]
            axes.scatter(*places, s=rows["batch_size"].map(area), marker=marker, color=colour, alpha=0.7, lw=0)
        axes.plot(ends, ends, color=INK, lw=1.2, ls="--")
        axes.set(xlabel="MACs (% of the backbone's)", title=f"width {width}", xlim=ends)
        axes.set_ylim(0, 105 * max(1, table["time_ratio"].max()))
    panels[0][0].set_ylabel("time (% of the backbone's)")
    for engine in (name for name in ENGINES if name in set(table["engine"])):
        marker, colour = ENGINES[engine]
        panels[0][-1].scatter([], [], marker=marker, color=colour, label=engine)
    for size in sizes:
        panels[0][-1].scatter([], [], s=area[size], color=GREY, alpha=0.7, lw=0, label=f"batch size {size}")
    panels[0][-1].plot([], [], color=INK, lw=1.2, ls="--", label="time = MACs")
    panels[0][-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    above = (table["time_ratio"] > table["macs_ratio"]).groupby(table["width"]).mean()
    shares = "; ".join(f"width {width}: {100 * above[width]:.0f} % of the points above it" for width in widths)
    _headline(figure, f"Above the dashed line, saved MACs are not all saved time. {shares}")
    return figure


@drawn_from_table
def throughput(table: pd.DataFrame) -> Figure:
    """Images a second by batch size, of a cascade and the backbone (``measurements.throughput_table``)."""
    widths, sizes = sorted(table["width"].unique()), sorted(table["batch_size"].unique())
    cascade = next(name for name in table["model"] if name.startswith("drop"))
    figure, panels = plt.subplots(
        1, len(widths), figsize=(4.6 * len(widths) + 1.8, 3.8), layout="constrained", squeeze=False
    )
    shown: dict[str, Line2D] = {}
    for axes, width in zip(panels[0], widths, strict=True):
        for engine, (marker, colour) in ENGINES.items():
            for model, name, style in ((cascade, "cascade", "-"), ("backbone", "backbone", ":")):
                rows = table[
                    (table["width"] == width) & (table["engine"] == engine) & (table["model"] == model)
                ]
                if len(rows):
                    places = rows.sort_values("batch_size")[["batch_size", "images_per_second"]].to_numpy().T
                    shown[f"{engine}, {name}"] = axes.plot(*places, style, marker=marker, color=colour)[0]
        axes.set(xlabel="batch size", title=f"width {width}", xscale="log", ylim=(0, None))
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.xaxis.set_minor_locator(plt.NullLocator())
    panels[0][0].set_ylabel("images a second")
    panels[0][-1].legend(shown.values(), shown.keys(), loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    gains = 1 / table.loc[table["model"] == cascade, "time_ratio"]
    times = f"{gains.min():.1f} to {gains.max():.1f} times"
    _headline(figure, f"The cascade ({cascade}) answers {times} as many images a second as the backbone")
    return figure


@drawn_from_table
def static_networks(table: pd.DataFrame) -> Figure:
    """Accuracy against mean MACs and mean time: cascades, and networks that never stop.

    Columns ``kind, width, macs_ratio, time_ratio, accuracy``.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9.4, 4), sharey=True, layout="constrained")
    for axes, column, name in zip(
        panels, ("macs_ratio", "time_ratio"), ("MACs", "time, one image"), strict=True
    ):
        for kind, colour, marker, style in (("cascade", BLUE, "o", ""), ("static", ORANGE, "s", "--")):
            rows = table[table["kind"] == kind].sort_values(column)
            label = "networks that never stop early" if kind == "static" else "the cascade, its configurations"
            places = 100 * rows[column], 100 * rows["accuracy"]
            axes.plot(*places, style, marker=marker, color=colour, label=label)
            for x, y, width in zip(*places, rows["width"].dropna(), strict=False):
                written = {"textcoords": "offset points", "ha": "right", "fontsize": 9, "color": colour}
                axes.annotate(f"width {width:.0f}", (x, y), (-4, 9), **written)
        axes.set(xlabel=f"mean {name} (% of the backbone's)", title=f"Cost in {name}")
        axes.margins(x=0.14, y=0.14)
    panels[0].set_ylabel("accuracy on test (%)")
    panels[1].legend(loc="lower right")
    rival = table[table["kind"] == "static"].sort_values("macs_ratio").iloc[0]
    macs, time = 100 * rival["macs_ratio"], 100 * rival["time_ratio"]
    _headline(
        figure,
        f"The rival without branches, width {rival['width']:.0f}: {macs:.0f} % of MACs, {time:.0f} % of time",
    )
    return figure


@drawn_from_table
def latency_budget(table: pd.DataFrame) -> Figure:
    """Mean time against drop of all configurations (``time_costs.configuration_times``)."""
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axes.scatter(
        table["milliseconds"], table["valid_drop"], s=22, color=GREY, alpha=0.6, lw=0, label="configurations"
    )
    best = table.sort_values(["milliseconds", "valid_drop"])
    best = best[best["valid_drop"] < best["valid_drop"].cummin().shift(fill_value=np.inf)]
    axes.step(
        best["milliseconds"],
        best["valid_drop"],
        where="post",
        color=BLUE,
        label="best within a budget, on valid",
    )
    axes.plot(best["milliseconds"], best["drop"], "o", color=ORANGE, ms=6, label="the same ones on test")
    axes.axhline(0, color=INK, lw=1)
    ends = " and ".join(
        f"{row.drop:.1f} at {row.milliseconds:.2f} ms" for row in best.iloc[[0, -1]].itertuples()
    )
    axes.set(
        xlabel="predicted mean time of an image (ms)",
        ylabel="accuracy drop (points)",
        title=f"More time buys accuracy: a drop on test of {ends}",
    )
    axes.legend(loc="upper right")
    return figure


def _headline(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)
