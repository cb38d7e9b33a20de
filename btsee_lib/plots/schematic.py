"""The cascade as a picture, drawn from what its parts cost."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from btsee_lib.cost import CostModel
from btsee_lib.plots.canvas import Canvas
from btsee_lib.plots.style import BRANCH_COLOURS, GREEN, GREY, INK, ORANGE, drawn_from_table

LENGTH, GAP, TAP = 6.0, 2.3, 0.95  # of all stages together; between two of them; from a stage to its branch
SQUEEZE, BRANCH, GATE, EXIT = -1.55, -2.75, -4.05, -5.6  # heights of what hangs below the stages
ROWS = (
    ("stages of\nthe backbone", 0.0, "stages"),
    ("squeeze the map\nto a coarse grid", SQUEEZE, "squeeze", "branches"),
    ("branch: a small\nclassifier", BRANCH, "branches"),
    ("sure enough?\nA threshold", GATE, "thresholds"),
    ("leave with\nan answer", EXIT, "exits"),
)


def cascade_table(
    cost: CostModel, shares: Sequence[float] | None = None, spent: Sequence[float] | None = None
) -> pd.DataFrame:
    """One row a stage: ``stage, macs, branch_macs`` (nan without a branch), ``share``, ``spent``.

    Parameters
    ----------
    shares : of the images that leave at each exit, as many as stages; nan without them.
    spent : MACs of an image that leaves there; by default those of a cascade without closed branches.
    """
    stages = len(cost.stages)
    branches = [*cost.branches, *[0] * (stages - len(cost.branches))]
    return pd.DataFrame(
        {
            "stage": range(1, stages + 1),
            "macs": cost.stages,
            "branch_macs": [*cost.branches, *[np.nan] * (stages - len(cost.branches))],
            "share": [np.nan] * stages if shares is None else list(shares),
            "spent": np.cumsum(cost.stages) + np.cumsum(branches) if spent is None else list(spent),
        }
    )


@drawn_from_table
def cascade(table: pd.DataFrame, highlight: str | None = None) -> Figure:
    """Draw stages, branches, thresholds and exits (``cascade_table``); a stage is as wide as its MACs.

    Parameters
    ----------
    highlight : the part that stands out, the others are faded: "stages", "squeeze", "branches", "thresholds",
        "survivors", "exits"; or with a number: "stage 2", "branch 2", "exit 2".

    Raises
    ------
    ValueError
        If there is no such part.
    """
    canvas, rows = Canvas(highlight), _laid_out(table).to_dict("records")
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        _stage(canvas, row)
        if not np.isnan(row["branch_macs"]):
            _branch(canvas, row, after)
    _exit(canvas, rows[-1], rows[-1]["start"] + max(rows[-1]["width"] / 2, 0.65), -0.7)
    for words, height, *parts in ROWS:
        if parts[0] in canvas.known:
            canvas.write(0, height, words, *parts, ha="left", style="italic")
    arrows = "; width of a thick arrow: its share of the images" if table["share"].notna().all() else ""
    canvas.axes.set_xlabel(f"MACs in % of the bare backbone's; width of a stage: its MACs{arrows}", fontsize=12)
    canvas.axes.set_title(_headline(table["share"]), fontsize=15, weight="bold")
    canvas.crop(-0.1, rows[-1]["start"] + max(rows[-1]["width"], 1.5) + 0.3, EXIT - 1.6, 1.9)
    return canvas.figure


def _laid_out(table: pd.DataFrame) -> pd.DataFrame:
    """Add where each stage stands, who comes to it, and what is spent, with its branch, by then."""
    whole, width = table["macs"].sum(), LENGTH * table["macs"] / table["macs"].sum()
    reach = (1 - table["share"].cumsum().shift(fill_value=0.0)).where(table["share"].notna())
    colours = [BRANCH_COLOURS[row % len(BRANCH_COLOURS)] for row in range(len(table))]
    return table.assign(
        width=width,
        start=3.9 + (width + GAP).cumsum() - width - GAP,
        reach=reach,
        band=0.9 * reach.fillna(0.25).clip(lower=0.03),
        percent=100 * table["macs"] / whole,
        branch_percent=100 * table["branch_macs"] / whole,
        spent=100 * table["spent"] / whole,
        colour=pd.Series(colours).where(table["branch_macs"].notna(), GREEN),
    )


def _headline(share: pd.Series) -> str:
    if share.notna().all():
        return f"{100 * share.iloc[:-1].sum():.0f} % of the images leave before the last stage"
    return "An image leaves where the first branch is sure enough of it"


def _stage(canvas: Canvas, row: dict) -> None:
    """A stage, and the arrow of those that come to it."""
    parts, start = ("stages", f"stage {row['stage']}"), row["start"]
    canvas.add(Rectangle((start, -0.7), row["width"], 1.4, fc=GREEN, ec="white"), *parts)
    name = f"stage {row['stage']}\n{row['percent']:.0f} % of MACs"
    canvas.write(start + row["width"] / 2, 1.25, name, *parts, color=GREEN, weight="bold")
    if row["stage"] == 1:
        canvas.arrow(start - 1.4, 0, 1.4, 0, "images", width=row["band"])
        canvas.write(start - 1.15, 1.25, "all\nimages", "images", color=GREY, weight="bold")
        return
    canvas.arrow(start - GAP, 0, GAP, 0, "survivors", width=row["band"], colour=ORANGE)
    words = "the others" if np.isnan(row["reach"]) else f"{100 * row['reach']:.0f} %"
    height = 0.26 + row["band"] / 2
    canvas.write(start - GAP / 2, height, words, "survivors", color=ORANGE, weight="bold")


def _branch(canvas: Canvas, row: dict, after: dict) -> None:
    """What hangs behind a stage, down to its exit."""
    x, parts = row["start"] + row["width"] + TAP, ("branches", f"branch {row['stage']}")
    below = -after["band"] / 2
    canvas.arrow(x, below, 0, SQUEEZE + 0.3 - below, "squeeze", *parts)
    funnel = [(-0.7, 0.3), (0.7, 0.3), (0.3, -0.3), (-0.3, -0.3)]
    canvas.polygon(x, SQUEEZE, funnel, "squeeze", *parts, fc="#D9D9D9", ec=GREY)
    canvas.arrow(x, SQUEEZE - 0.3, 0, BRANCH - SQUEEZE + 0.75, *parts)
    name = f"branch {row['stage']}\n{row['branch_percent']:.1f} %"
    canvas.box(x, BRANCH, name, row["colour"], *parts)
    canvas.arrow(x, BRANCH - 0.45, 0, GATE - BRANCH + 0.9, "thresholds")
    _gate(canvas, x, below)
    _exit(canvas, row, x, GATE - 0.45)


def _gate(canvas: Canvas, x: float, band: float) -> None:
    """A question, from which an image leaves downwards, or goes on to the next stage."""
    diamond = [(-0.5, 0), (0, 0.45), (0.5, 0), (0, -0.45)]
    canvas.polygon(x, GATE, diamond, "thresholds", fc="white", ec=INK, lw=2)
    canvas.write(x, GATE, "?", "thresholds", size=16, weight="bold")
    turn = x + GAP - TAP - 0.35
    style = {"color": ORANGE, "lw": 2, "ls": (0, (3, 1.5)), "marker": "^", "ms": 9, "markevery": [2]}
    (way,) = canvas.axes.plot((x + 0.5, turn, turn), (GATE, GATE, band - 0.1), **style)
    canvas.add(way, "thresholds", "survivors")
    canvas.write(x + 0.72, GATE - 0.25, "no", "thresholds", "survivors", color=ORANGE)
    canvas.write(x - 0.48, GATE - 0.5, "yes", "thresholds", "exits", ha="right")


def _exit(canvas: Canvas, row: dict, x: float, top: float) -> None:
    """An exit, the arrow of those that leave there, and what they have cost."""
    parts, height = ("exits", f"exit {row['stage']}"), EXIT - 0.75
    width = 0.9 * max(0.03, 0.25 if np.isnan(row["share"]) else row["share"])
    canvas.arrow(x, top, 0, EXIT + 0.3 - top, *parts, width=width, colour=row["colour"])
    canvas.box(x, EXIT, f"exit {row['stage']}", row["colour"], *parts)
    if not np.isnan(row["share"]):
        canvas.write(x, height, f"{100 * row['share']:.0f} %", *parts, size=17, weight="bold")
        height -= 0.5
    canvas.write(x, height, f"{row['spent']:.0f} % of MACs", *parts, size=12)
