"""How cost grows with the work: what follows from the table that ``examples/measure_scaling.py`` measures."""

import numpy as np
import pandas as pd


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Fit a straight line to the time of each task over the images: ``task, fixed, per_image, misfit``.

    ``fixed`` in seconds, ``per_image`` in milliseconds; ``misfit`` is the largest deviation of a
    measurement from its line, as a share of the measurement.
    """
    rows = []
    width = table["width"][table["images"].idxmax()]
    for task, points in table[table["width"] == width].groupby("task", sort=False):
        slope, fixed = np.polyfit(points["images"], points["seconds"], 1)
        misfit = (fixed + slope * points["images"] - points["seconds"]).abs() / points["seconds"]
        rows.append({"task": task, "fixed": fixed, "per_image": 1000 * slope, "misfit": misfit.max()})
    return pd.DataFrame(rows)


def memory_growth(table: pd.DataFrame) -> pd.DataFrame:
    """Set the growth of each task's peak of memory, over the images, against that of the files.

    Returns
    -------
    DataFrame
        ``task, megabytes`` (growth of the peak), ``files`` (growth of what the feature pass stores)
        and ``share``, the first over the second.
    """
    rows = table[table["width"] == table["width"][table["images"].idxmax()]].sort_values("images")
    grown = rows.groupby("task", sort=False)[["megabytes", "stored"]].agg(
        lambda each: each.iloc[-1] - each.iloc[0]
    )
    grown = grown.assign(files=grown.loc["feature pass", "stored"]).drop(columns="stored")
    return grown.assign(share=grown["megabytes"] / grown["files"]).reset_index()
