"""The figures with an axis of classes, at two classes and at as many as CIFAR-100 has."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from btsee_lib.plots import FIGURES

pytestmark = pytest.mark.filterwarnings(
    *("error::UserWarning", "error::RuntimeWarning", "ignore::PendingDeprecationWarning")
)


def confusion(names):
    rows = [
        (label, predicted, float(label == predicted)) for label, predicted in itertools.product(names, names)
    ]
    return pd.DataFrame(rows, columns=["label", "predicted", "share"])


def class_mix(names):
    return pd.DataFrame({"name": names, "all": 1 / len(names), "unclear": np.linspace(0, 2, len(names))})


def class_precision(names):
    return pd.DataFrame({"name": names, "precision": 0.8, "low": 0.7, "high": 0.9})


def covariance_shift(names):
    rows = [
        (group, kind, name, 0.5)
        for group in ("all", "survivors")
        for kind, those in (("class", names), ("accuracy", ["branch 1", "backbone"]))
        for name in those
    ]
    return pd.DataFrame(rows, columns=["group", "kind", "name", "value"])


def thresholds(names):
    rows = [(branch, name, np.inf if branch == 3 else 0.5) for branch in (1, 2, 3) for name in names]
    return pd.DataFrame(rows, columns=["branch", "class", "threshold"])


def class_exits(names):
    rows = [(name, exit, 0.25) for name in names for exit in (1, 2, 3, 4)]
    return pd.DataFrame(rows, columns=["class", "exit", "share"])


MADE = {"nearest_mean_confusion": confusion, "confusion": confusion}
MADE |= {
    each.__name__: each for each in (class_mix, class_precision, covariance_shift, thresholds, class_exits)
}


def overlapping(labels, along="y"):
    """How many labels of an axis stand on their neighbours."""
    boxes = (label.get_window_extent() for label in labels)
    ends = sorted((getattr(box, f"{along}0"), getattr(box, f"{along}1")) for box in boxes)
    return sum(one[1] > other[0] + 1 for one, other in itertools.pairwise(ends))


@pytest.mark.parametrize("number", [2, 36, 100])
@pytest.mark.parametrize("name", MADE)
def test_every_class_is_named_beside_its_row(name, number):
    names = [f"class {each}" for each in range(number)]
    figure = FIGURES[name](MADE[name](names))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert {label.get_text() for label in axes.get_yticklabels()} >= set(names)
    if name != "covariance_shift":  # its panel keeps the height that stands beside the accuracies
        assert not overlapping(axes.get_yticklabels())
    plt.close(figure)


@pytest.mark.parametrize("number", [2, 25, 26])
def test_a_confusion_grid_holds_numbers_or_a_bar_that_explains_its_colours(number):
    figure = FIGURES["confusion"](confusion([f"class {each}" for each in range(number)]))
    grid, *bars = figure.axes
    assert len(grid.texts) == (0 if bars else number**2)
    assert [bar.get_ylabel() for bar in bars] == ["images of the class (%)"] * (number > 25)
    figure.draw_without_rendering()
    assert number < 26 or not overlapping(grid.get_xticklabels(), "x")
    assert [label.get_text() for label in grid.get_xticklabels()] == [f"class {each}" for each in range(number)]
    plt.close(figure)
