"""The figures of notebook 08: cost as the work grows."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from btsee_lib.plots.panels import headline
from btsee_lib.plots.style import GREEN, GREY, INK, PURPLE, drawn_from_table

TASKS = {
    "feature pass": ("o", INK),
    "one branch": ("s", PURPLE),
    "all configurations": ("D", GREY),
    "one epoch": ("^", GREEN),
}


@drawn_from_table
def scaling(table: pd.DataFrame) -> Figure:
    """Time and peak memory of each task, by images and by width (``examples/measure_scaling.py``)."""
    width = table["width"][table["images"].idxmax()]
    sweeps = {
        "images": table[table["width"] == width],
        "width": table[table["images"] == table.groupby("task")["images"].transform("min")],
    }
    figure, panels = plt.subplots(2, 2, figsize=(9.5, 6), sharex="col", sharey="row")
    passes = table[table["task"] == "feature pass"]
    kinds = (f"width {width}", f"{passes['images'].min():,} images (an epoch: on a tenth of them)")
    for column, (by, rows) in enumerate(sweeps.items()):
        for row, measure in enumerate(("seconds", "megabytes")):
            for task, (marker, colour) in TASKS.items():
                chosen = rows[rows["task"] == task].sort_values(by)
                panels[row, column].plot(by, measure, data=chosen, marker=marker, color=colour, label=task)
        panels[0, column].set_title(kinds[column])
        ticks = sorted(passes[by].unique())
        panels[1, column].set_xscale("log")
        panels[1, column].set_xticks(ticks, [f"{tick / 1000:g}" if by == "images" else tick for tick in ticks])
        panels[1, column].xaxis.set_minor_locator(plt.NullLocator())
    panels[0, 0].set(ylabel="time (s)", yscale="log")
    panels[0, 0].yaxis.set_major_formatter("{x:g}")
    panels[1, 0].set(ylabel="peak memory (MB)", xlabel="images (thousands)", ylim=(0, None))
    panels[1, 1].set_xlabel("width of the backbone")
    panels[0, 1].legend(loc="upper left", fontsize=9)
    headline(figure, _grown(sweeps["images"]))
    return figure


def _grown(rows: pd.DataFrame) -> str:
    """Say how time and memory of the feature pass grow from the fewest to the most images."""
    rows = rows[rows["task"] == "feature pass"].sort_values("images")[["images", "seconds", "megabytes"]]
    grown = rows.iloc[-1] / rows.iloc[0]
    times, seconds, megabytes = (f"{each:.3g}" for each in grown)
    return f"Feature pass: {times} times the images, {seconds} times the time, {megabytes} times the memory"
