"""The figures of notebook 10: times."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES
from btsee_lib.plots.panels import headline, panels_of
from btsee_lib.plots.style import BESIDE, BLUE, BRANCH_COLOURS, GREEN, GREY, INK, ORANGE, SKY, drawn_from_table

ENGINES = {EAGER: ("o", ORANGE), STAGES: ("s", BLUE), ONE_MODEL: ("D", GREEN)}


@drawn_from_table
def latency_by_exit(table: pd.DataFrame) -> Figure:
    """How long single images take, by the exit that they leave at (``exit, milliseconds``)."""
    figure, axes = plt.subplots(figsize=(7.5, 3.6))
    top = table.groupby("exit")["milliseconds"].quantile(0.98).max()
    bins = np.linspace(0, 1.05 * top, 90)
    words = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
    last = table["exit"].max()  # the backbone's
    for number, rows in table.groupby("exit"):
        colour = GREEN if number == last else BRANCH_COLOURS[number - 1]
        counts, _, _ = axes.hist(rows["milliseconds"], bins=bins, color=colour, alpha=0.85)
        middle = rows["milliseconds"].median()
        axes.annotate(f"exit {number}\n{middle:.2f} ms", (middle, counts.max()), (0, 4), **words)
    title = "An image that leaves early is answered early: each exit has its own time"
    axes.set(xlabel="time of one image (ms)", ylabel="images", title=title)
    axes.set(xlim=(0, None), ylim=(None, 1.25 * axes.get_ylim()[1]))
    return figure


@drawn_from_table
def exit_times(table: pd.DataFrame) -> Figure:
    """Share of MACs and of time of each stage, from the times by exit (``measurements.exit_times``)."""
    whole = table[table["branches"] == table["exit"].clip(upper=table["branches"].max())]  # all branches run
    figure, panels = panels_of(whole.sort_values(["width", "exit"]), "width", (4.8, 3.6), sharey=True)
    for width, here, axes in panels:
        sizes = zip(here.groupby("batch_size"), (BLUE, SKY), strict=False)
        for place, ((size, rows), colour) in enumerate(sizes):
            name = "time, one image" if size == 1 else f"time, batches of {size}"
            if place == 0:
                _steps(axes, rows["exit"] - 0.27, rows["macs"], GREY, "MACs")
            _steps(axes, rows["exit"] + 0.27 * place, rows["milliseconds"], colour, name)
        axes.set(xlabel="stage, with its branch", title=f"width {width}", xticks=sorted(table["exit"].unique()))
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.3)
    figure.axes[0].set_ylabel("share of the whole way (%)")
    headline(figure, "The share of time is not the share of MACs, and depends on the batch")
    figure.axes[0].legend(loc="upper left", ncols=2, fontsize=9)
    return figure


def _steps(axes: Axes, places: pd.Series, values: pd.Series, colour: str, name: str) -> None:
    """Bars of what each value adds to the one before it, in % of the last."""
    shares = 100 * np.diff(values.to_numpy(float), prepend=0) / values.iloc[-1]
    axes.bar_label(axes.bar(places, shares, 0.25, color=colour, label=name), fmt="%.0f", fontsize=8, padding=2)


@drawn_from_table
def time_against_macs(table: pd.DataFrame) -> Figure:
    """Mean time by batch size, as a multiple of the mean MACs, both as shares of the backbone's.

    ``width, engine, batch_size, macs_ratio, time_ratio``: a row a cascade.
    """
    table = table.assign(times=table["time_ratio"] / table["macs_ratio"]).sort_values("width", kind="stable")
    figure, panels = panels_of(table, "width", (4.6, 3.8), beside=1.6, sharey=True)
    engines = [name for name in ENGINES if name in set(table["engine"])]
    sizes = sorted(table["batch_size"].unique())
    for width, here, axes in panels:
        for place, engine in enumerate(engines):
            marker, colour = ENGINES[engine]
            rows = here[here["engine"] == engine]
            beside = rows["batch_size"].map(sizes.index) + 0.12 * (place - (len(engines) - 1) / 2)
            axes.plot(beside, rows["times"], marker, ms=8, color=colour, label=engine)
        axes.axhline(1, color=INK, lw=1.2, ls="--", label="time falls as far as MACs")
        axes.set(xlabel="batch size", title=f"width {width}", ylim=(0, 1.1 * table["times"].max()))
        axes.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    figure.axes[0].set_ylabel("time / MACs\n(both as shares of the backbone's)")
    figure.axes[-1].legend(**BESIDE)
    above = (table["times"] > 1).groupby(table["width"]).mean()
    shares = "; ".join(f"width {width}: {100 * share:.0f} %" for width, share in above.items())
    headline(figure, f"Above the dashed line, saved MACs are not all saved time. Points there: {shares}")
    return figure


@drawn_from_table
def throughput(table: pd.DataFrame) -> Figure:
    """Images a second by batch size, of a cascade and the backbone (``measurements.throughput_table``)."""
    cascade = next(name for name in table["model"] if name.startswith("drop"))
    figure, panels = panels_of(table.sort_values(["width", "batch_size"]), "width", (4.6, 3.8), beside=1.8)
    shown, sizes = {}, sorted(table["batch_size"].unique())
    for width, here, axes in panels:
        for engine, (marker, colour) in ENGINES.items():
            for model, name, style in ((cascade, "cascade", "-"), ("backbone", "backbone", ":")):
                rows = here[(here["engine"] == engine) & (here["model"] == model)]
                if len(rows):
                    places = rows["batch_size"], rows["images_per_second"]
                    (shown[f"{engine}, {name}"],) = axes.plot(*places, style, marker=marker, color=colour)
        axes.set(xlabel="batch size", title=f"width {width}", xscale="log", ylim=(0, None))
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.xaxis.set_minor_locator(plt.NullLocator())
    figure.axes[0].set_ylabel("images a second")
    figure.axes[-1].legend(shown.values(), shown.keys(), **BESIDE)
    gains = 1 / table.loc[table["model"] == cascade, "time_ratio"]
    times = f"{gains.min():.1f} to {gains.max():.1f} times"
    headline(figure, f"The cascade ({cascade}) answers {times} as many images a second as the backbone")
    return figure


@drawn_from_table
def static_networks(table: pd.DataFrame) -> Figure:
    """Accuracy against mean MACs and mean time: cascades, and networks that never stop.

    Columns ``kind, width, macs_ratio, time_ratio, accuracy``.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9.4, 4), sharey=True)
    kinds = {
        "cascade": ("the cascade, its configurations", "o-", {"color": BLUE}),
        "static": ("networks that never stop early", "s--", {"color": ORANGE}),
    }
    written = {"textcoords": "offset points", "ha": "right", "fontsize": 9}
    measures = {"macs_ratio": "MACs", "time_ratio": "time, one image"}
    for axes, (column, name) in zip(panels, measures.items(), strict=True):
        for kind, (label, style, colour) in kinds.items():
            rows = table[table["kind"] == kind].sort_values(column)
            places = 100 * rows[column], 100 * rows["accuracy"]
            axes.plot(*places, style, label=label, **colour)
            for x, y, width in zip(*places, rows["width"].dropna(), strict=False):
                axes.annotate(f"width {width:.0f}", (x, y), (-4, 9), **written, **colour)
        axes.set(xlabel=f"mean {name} (% of the backbone's)", title=f"Cost in {name}")
        axes.margins(x=0.14, y=0.14)
    panels[0].set_ylabel("accuracy on test (%)")
    panels[1].legend(loc="lower right")
    rival = table[table["kind"] == "static"].sort_values("macs_ratio").iloc[0]
    costs = f"{100 * rival['macs_ratio']:.0f} % of MACs, {100 * rival['time_ratio']:.0f} % of time"
    headline(figure, f"The rival without branches, width {rival['width']:.0f}: {costs}")
    return figure


@drawn_from_table
def latency_budget(table: pd.DataFrame) -> Figure:
    """Mean time against drop of all configurations (``time_costs.configuration_times``)."""
    figure, axes = plt.subplots(figsize=(7, 3.8))
    dots = {"s": 22, "color": GREY, "alpha": 0.6, "lw": 0, "label": "configurations"}
    axes.scatter(table["milliseconds"], table["valid_drop"], **dots)
    best = table.sort_values(["milliseconds", "valid_drop"])
    best = best[best["valid_drop"] < best["valid_drop"].cummin().shift(fill_value=np.inf)]
    steps = {"where": "post", "color": BLUE, "label": "best within a budget, on valid"}
    axes.step(best["milliseconds"], best["valid_drop"], **steps)
    axes.plot(best["milliseconds"], best["drop"], "o", color=ORANGE, ms=6, label="the same ones on test")
    axes.axhline(0, color=INK, lw=1)
    first, last = (f"{row.drop:.1f} at {row.milliseconds:.2f} ms" for row in best.iloc[[0, -1]].itertuples())
    axes.set_title(f"More time buys accuracy: a drop on test of {first} and {last}")
    axes.set(xlabel="predicted mean time of an image (ms)", ylabel="accuracy drop (points)")
    axes.legend(loc="upper right")
    return figure
