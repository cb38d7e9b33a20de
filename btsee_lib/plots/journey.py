"""The journey of one image: what each exit says of it, whether it may leave there, and what it has cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from btsee_lib.calibration import confidence_and_class
from btsee_lib.cascade import Exits, simulate
from btsee_lib.cost import CostModel
from btsee_lib.data import ImageSet
from btsee_lib.plots.pictures import draw_image
from btsee_lib.plots.style import BRANCH_COLOURS, GREEN, INK

EASY, AMBIGUOUS, SHUT_IN, MISTAKE = "easy", "ambiguous", "shut in by its bar", "a confident mistake"
LEGEND = "An image leaves where its bar reaches the black tick (bold: the true class; faded: not run)"
MOST_CLASSES, PALE = 10, "#C8C8C8"  # of classes that are drawn; bars of classes that an exit does not name


@dataclass(frozen=True)
class Journeys:
    """A cascade that leaves by confidence, and what its exits say of the images of a split.

    ``logits``: float (B + 1, N, K), the backbone's last; ``thresholds`` (B, K).
    """

    images: ImageSet
    logits: Tensor
    thresholds: Tensor
    cost: CostModel
    classes: Sequence[str]

    @cached_property
    def said(self) -> tuple[Tensor, Tensor]:
        """How sure each exit is, and the class that it names: (B + 1, N) each."""
        return confidence_and_class(self.logits)

    @cached_property
    def exits(self) -> Exits:
        """Where every image leaves."""
        (*sure, last), (*named, end) = self.said
        return simulate(torch.stack(sure), torch.stack(named), end, self.thresholds, last)


def four_images(journeys: Journeys) -> dict[str, int | None]:
    """Pick an image of each of four kinds by rule; None where there is no such image.

    Easy: leaves at branch 1, rightly, and branch 1 is surest of it. Ambiguous: the two likeliest classes are
    closest, on average over the exits. Shut in: branch 1 is right and keeps it, though surer than the threshold
    of another class asks; the one that goes furthest, and of those the surest. A confident mistake: leaves at a
    branch with a wrong answer, the surest one.
    """
    exits, labels, first = journeys.exits, journeys.images.labels, journeys.thresholds[0]
    sure, named = (each[0] for each in journeys.said)
    behind = journeys.logits.softmax(-1).topk(2).values.diff(dim=-1).mean((0, 2))  # the second, the first
    at_once, right = exits.exit == 0, exits.label == labels
    shut_in = ~at_once & (named == labels) & (sure >= first.min())
    return {
        EASY: _highest(sure, at_once & right),
        AMBIGUOUS: _highest(behind, torch.ones_like(right)),
        SHUT_IN: _highest(exits.exit + sure, shut_in),
        MISTAKE: _highest(exits.confidence, (exits.exit < len(journeys.thresholds)) & ~right),
    }


def _highest(values: Tensor, chosen: Tensor) -> int | None:
    return int(values.where(chosen, -torch.inf).argmax()) if chosen.any() else None


def draw(journeys: Journeys, chosen: Mapping[str, int | None]) -> Figure:
    """Draw the journeys of some images, a row each, an exit a column; exits that do not run any more are pale.

    Parameters
    ----------
    chosen : positions in the split, by what to write beside them; None draws a row that says so.
    """
    rows, columns = len(chosen), len(journeys.logits) + 1
    size = (2.6 * columns, 0.4 + (1.25 + 0.17 * min(len(journeys.classes), MOST_CLASSES)) * rows)
    look = {"width_ratios": (0.75, *[1] * (columns - 1)), "layout": "constrained", "squeeze": False}
    figure, panels = plt.subplots(rows, columns, figsize=size, **look)
    for row, (name, position) in zip(panels, chosen.items(), strict=True):
        if position is None:
            for axes in row:
                axes.set_axis_off()
            row[0].set_title(f"{name}:\nno such image here", fontsize=13, weight="bold")
        else:
            _journey(row, journeys, name, position)
    figure.suptitle(LEGEND, x=0.01, ha="left", fontsize=14, weight="bold")
    figure.get_layout_engine().set(hspace=0.06)
    return figure


def _journey(row: np.ndarray, journeys: Journeys, name: str, position: int) -> None:
    label, left = (int(each[position]) for each in (journeys.images.labels, journeys.exits.exit))
    draw_image(row[0], journeys.images.images[position])
    row[0].set_title(name, fontsize=13, weight="bold")
    row[0].set_xlabel(f"image {position}: {journeys.classes[label]}", fontsize=12, color=INK)
    probabilities = journeys.logits[:, position].softmax(-1)
    drawn = _classes_drawn(probabilities, label)
    spent = 100 * journeys.cost.by_exit(journeys.thresholds).double() / journeys.cost.backbone
    for number, axes in enumerate(row[1:]):
        runs, named = number <= left, int(journeys.said[1][number, position])
        colour = GREEN if number == len(journeys.thresholds) else BRANCH_COLOURS[number % len(BRANCH_COLOURS)]
        colours = [colour if c == named else PALE for c in drawn]
        axes.barh(range(len(drawn)), probabilities[number, drawn], color=colours, alpha=1 if runs else 0.3)
        _frame(axes, [journeys.classes[c] if number == 0 else "" for c in drawn], drawn.index(label))
        if runs and number < len(journeys.thresholds):
            place, needed = drawn.index(named), float(journeys.thresholds[number, named])
            axes.plot([needed] * 2, [place - 0.75, place + 0.75], color=INK, lw=3)  # one at inf is not seen
        weight = "bold" if number == left else "normal"
        axes.set_title(_verdict(journeys, position, number), fontsize=11.5, weight=weight)
        axes.set_xlabel(f"{spent[number]:.0f} % of MACs so far" if runs else "", fontsize=12, color=INK)


def _verdict(journeys: Journeys, position: int, number: int) -> str:
    """What happens to an image at an exit, and how sure the exit is against what leaving takes."""
    left, last = int(journeys.exits.exit[position]), number == len(journeys.thresholds)
    name = "backbone" if last else f"branch {number + 1}"
    if number > left:
        return f"{name}: not run\n"
    sure, named = (each[number, position] for each in journeys.said)
    right = "right" if named == journeys.images.labels[position] else "wrong"
    takes = "" if last else f", takes {journeys.thresholds[number, named]:.4f}"
    happens = f"leaves, {right}" if number == left else "stays"
    return f"{name}: {happens}\nsure {sure:.4f}{takes}".replace("takes inf", "never leaves")


def _classes_drawn(probabilities: Tensor, label: int) -> list[int]:
    """The true class, those that the exits name, and the likeliest others, in order of their numbers."""
    always = torch.tensor([label, *probabilities.max(1).indices.tolist()])
    peak = probabilities.max(0).values.index_fill(0, always, torch.inf)
    return sorted(peak.topk(min(len(peak), MOST_CLASSES)).indices.tolist())


def _frame(axes: Axes, names: Sequence[str], true: int) -> None:
    axes.set(xlim=(0, 1.03), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"), ylim=(len(names) - 0.4, -0.9))
    axes.set_yticks(range(len(names)), names, fontsize=11)
    axes.get_yticklabels()[true].set_weight("bold")
    axes.tick_params(axis="x", labelsize=10)
    axes.grid(axis="y", visible=False)
