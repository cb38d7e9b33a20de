"""The figures of notebook 06: deployment."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from btsee_lib.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, drawn_from_table

EXIT_COLOURS = (SKY, BLUE, INK, GREY)
ENGINES = {"PyTorch eager": ("o", ORANGE), "torch.compile": ("^", PURPLE), "ONNX stages": ("s", BLUE)}
ENGINES["ONNX single"] = ("D", GREEN)


@drawn_from_table
def latency_by_exit(table: pd.DataFrame) -> Figure:
    """How long single images take, by the exit that they leave at (``exit, milliseconds``)."""
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    top = table.groupby("exit")["milliseconds"].quantile(0.98).max()
    bins = np.linspace(0, 1.05 * top, 90)
    last = table["exit"].max()
    for (number, rows), colour in zip(table.groupby("exit"), EXIT_COLOURS, strict=False):
        name = "backbone" if number == last and number > 1 else f"branch {number}"
        counts, _, _ = axes.hist(rows["milliseconds"], bins=bins, color=colour, alpha=0.85)
        middle = rows["milliseconds"].median()
        axes.annotate(
            f"{name}\n{middle:.2f} ms",
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
    """Share of time and of MACs of each stage, from the times by exit (``measurements.exit_times``)."""
    widths = sorted(table["width"].unique())
    figure, panels = plt.subplots(
        1, len(widths), figsize=(4.6 * len(widths), 3.4), sharey=True, layout="constrained", squeeze=False
    )
    for axes, width in zip(panels[0], widths, strict=True):
        rows = table[(table["width"] == width) & (table["exit"] != "backbone")].sort_values("exit")
        places = np.arange(len(rows))
        for offset, column, colour, name in (
            (-0.2, "macs", GREY, "MACs"),
            (0.2, "milliseconds", BLUE, "time"),
        ):
            values = rows[column].to_numpy(float)
            steps = 100 * np.diff(values, prepend=0) / values[-1]
            bars = axes.bar(places + offset, steps, 0.38, color=colour, label=name)
            axes.bar_label(bars, fmt="%.0f", fontsize=9, padding=2)
        axes.set(
            xlabel="stage, with its branch",
            title=f"width {width}",
            xticks=places,
            xticklabels=[str(number + 1) for number in places],
        )
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.15)
    panels[0][0].set_ylabel("share of the whole way (%)")
    _headline(figure, "One image at a time: the share of time is not the share of MACs")
    panels[0][0].legend(loc="upper left")
    return figure


@drawn_from_table
def time_against_macs(table: pd.DataFrame) -> Figure:
    """Mean time over mean MACs, both relative to the backbone (``width, engine, batch_size, macs, time``)."""
    widths = sorted(table["width"].unique())
    figure, panels = plt.subplots(
        1, len(widths), figsize=(4.6 * len(widths) + 1.6, 4.2), sharey=True, layout="constrained", squeeze=False
    )
    sizes = sorted(table["batch_size"].unique())
    ends = 100 * np.array([table["macs"].min() - 0.03, table["macs"].max() + 0.03])
    for axes, width in zip(panels[0], widths, strict=True):
        for engine, (marker, colour) in ENGINES.items():
            rows = table[(table["width"] == width) & (table["engine"] == engine)]
            size = [25 + 25 * sizes.index(each) for each in rows["batch_size"]]
            axes.scatter(
                100 * rows["macs"], 100 * rows["time"], s=size, marker=marker, color=colour, alpha=0.7, lw=0
            )
        axes.plot(ends, ends, color=INK, lw=1.2, ls="--")
        axes.annotate("time = MACs", (ends[0], ends[0]), (2, -16), textcoords="offset points", fontsize=9)
        axes.set(xlabel="MACs (% of the backbone's)", title=f"width {width}", xlim=ends)
        axes.set_ylim(0, 105 * max(1, table["time"].max()))
    panels[0][0].set_ylabel("time (% of the backbone's)")
    for engine in (name for name in ENGINES if name in set(table["engine"])):
        marker, colour = ENGINES[engine]
        panels[0][-1].scatter([], [], marker=marker, color=colour, label=engine)
    panels[0][-1].legend(
        loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, title="larger: larger batches", title_fontsize=9
    )
    _headline(figure, "Does saved computation become saved time? Above the dashed line, not all of it")
    return figure


@drawn_from_table
def throughput(table: pd.DataFrame) -> Figure:
    """Images a second by batch size, cascade and backbone (``measurements.throughput_table``)."""
    widths = sorted(table["width"].unique())
    figure, panels = plt.subplots(
        1, len(widths), figsize=(4.6 * len(widths) + 1.8, 3.8), layout="constrained", squeeze=False
    )
    sizes = sorted(table["batch_size"].unique())
    shown: dict[str, Line2D] = {}
    for axes, width in zip(panels[0], widths, strict=True):
        mine = table[table["width"] == width]
        cascade = mine.loc[(mine["macs"] < 1) & (mine["model"] != "backbone"), "model"].iloc[0]
        for engine, (marker, colour) in ENGINES.items():
            for model, name, style in ((cascade, "cascade", "-"), ("backbone", "backbone", ":")):
                rows = mine[(mine["engine"] == engine) & (mine["model"] == model)].sort_values("batch_size")
                if len(rows):
                    (line,) = axes.plot(
                        rows["batch_size"], rows["images_per_second"], style, marker=marker, color=colour
                    )
                    shown.setdefault(f"{engine}, {name}", line)
        axes.set(xlabel="batch size", title=f"width {width}", xscale="log", ylim=(0, None))
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.xaxis.set_minor_locator(plt.NullLocator())
    panels[0][0].set_ylabel("images a second")
    panels[0][-1].legend(shown.values(), shown.keys(), loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    _headline(figure, "The cascade (solid) answers more images a second than the backbone (dotted)")
    return figure


@drawn_from_table
def static_networks(table: pd.DataFrame) -> Figure:
    """Accuracy against mean cost: cascades, and networks that never stop (``kind, cost, accuracy``)."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for kind, colour, marker in (("cascade", BLUE, "o"), ("static", ORANGE, "s")):
        rows = table[table["kind"] == kind].sort_values("cost")
        cost, accuracy = 100 * rows["cost"], 100 * rows["accuracy"]
        style = "--" if kind == "static" else "-"
        label = "a network that never stops early" if kind == "static" else "the cascade, its configurations"
        axes.plot(cost, accuracy, style, marker=marker, color=colour, label=label)
        if kind == "static":
            for row in rows.itertuples():
                axes.annotate(
                    f"width {row.width:.0f}",
                    (100 * row.cost, 100 * row.accuracy),
                    (-4, 9),
                    textcoords="offset points",
                    ha="right",
                    fontsize=9,
                    color=colour,
                )
    axes.set(
        xlabel="mean cost (% of the backbone's MACs)",
        ylabel="accuracy on test (%)",
        title="The rival that needs no branches: a narrower backbone",
    )
    axes.margins(x=0.14, y=0.14)
    axes.legend(loc="lower right")
    return figure


@drawn_from_table
def latency_budget(table: pd.DataFrame) -> Figure:
    """Mean time against drop of all configurations (``deployment.configuration_times``)."""
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
    axes.set(
        xlabel="mean time of an image (ms)",
        ylabel="accuracy drop (points)",
        title="A budget of milliseconds picks a configuration",
    )
    axes.legend(loc="upper right")
    return figure


def _headline(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)
