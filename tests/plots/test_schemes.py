"""Figures of notebook 09 tell what stands in their tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from btsee_lib.plots import FIGURES

NAMES = ("independent", "boosted", "mine")


@pytest.fixture
def draw():
    figures = []

    def drawn(name, table):
        figures.append(FIGURES[name](table))
        return figures[-1]

    yield drawn
    for figure in figures:
        plt.close(figure)


def standings(gain_low):
    rows = [
        {
            "training": name,
            "max_drop": max_drop,
            "gain": 0.2,
            "gain_low": low,
            "gain_high": 0.4,
            "reduction": 0.5,
        }
        for max_drop in (0.5, 1.0)
        for name, low in zip(NAMES, gain_low, strict=True)
    ]
    return pd.DataFrame(rows).assign(data_set="clothes")


def test_the_title_counts_who_is_certainly_ahead(draw):
    titles = [draw("scheme_standings", standings((0, low, -0.1))).axes[0] for low in (0.1, -0.1)]
    assert [axes.get_title("left") for axes in titles] == [
        "clothes: 1 of 2 ahead, one comparison at a time",
        "clothes: 0 of 2 ahead, one comparison at a time",
    ]


def test_of_pairs_only_certain_gains_are_written_with_either_sign(draw):
    rows = [("independent", "boosted", 0.3, 0.1, 0.5), ("independent", "mine", 0.2, -0.1, 0.5)]
    rows += [("boosted", "mine", -0.4, -0.6, -0.1)]
    columns = ["training", "over", "gain", "gain_low", "gain_high"]
    (axes,) = draw("scheme_pairs", pd.DataFrame(rows, columns=columns).assign(data_set="clothes")).axes
    assert sorted(text.get_text() for text in axes.texts if text.get_text()) == [
        "+0.30",
        "+0.40",
        "-0.30",
        "-0.40",
    ]
    assert axes.get_title("left") == "clothes: in 2 of 3 pairs the interval leaves out 0 (points)"


def test_effort_is_drawn_as_what_is_gained_over_independent_branches_of_as_many_visits(draw):
    rows = [(name, 2, epochs, 0.8 + plus / epochs) for plus, name in enumerate(NAMES) for epochs in (2.0, 4.0)]
    rows += [(name, 1, 2.0, 0.5) for name in NAMES]
    table = pd.DataFrame(rows, columns=["training", "branch", "epochs", "valid_accuracy"])
    figure = draw("scheme_effort", table.assign(data_set="clothes"))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["+0.0", "+0.0", "+50.0", "+25.0", "+100.0", "+50.0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    assert figure.get_suptitle().endswith("boosted, branch 2: +50.0 with 2, +25.0 with 4 epochs")


def test_effort_is_drawn_where_a_branch_is_closed(draw):
    rows = [("independent", 2, 2.0, 0.8), ("independent", 2, 4.0, 0.8), ("boosted", 2, 4.0, 0.9)]
    table = pd.DataFrame(rows, columns=["training", "branch", "epochs", "valid_accuracy"])
    table = table.assign(data_set="clothes")
    assert draw("scheme_effort", table).get_suptitle().endswith(": +10.0 with 4, +10.0 with 4 epochs")
    assert draw("scheme_effort", table[:2]).get_suptitle() == ""


def test_the_title_names_the_scheme_and_rule_that_lose_most_beside_independent_branches(draw):
    drops = {("independent", "CPM"): 0.5, ("boosted", "CPM"): 0.7, ("independent", "entropy"): 1.5}
    rows = [(*key, value) for key, value in drops.items()] + [("boosted", "entropy", 1.6)]
    table = pd.DataFrame(rows, columns=["training", "rule", "drop"])
    axes = draw("scheme_rules", table.assign(data_set="clothes")).axes[0]
    told = "clothes: boosted, under CPM, loses 0.2 points more than independent"
    assert axes.get_title("left") == told
    assert sorted(float(text.get_text()) for text in axes.texts) == [0.5, 0.7, 1.5, 1.6]


def test_weights_of_schemes_are_drawn_against_the_excess(draw):
    excess = np.linspace(-1, 1, 5)
    table = pd.concat(
        pd.DataFrame({"training": name, "excess": excess, "weight": float(number)})
        for number, name in enumerate(NAMES)
    )
    (axes,) = draw("sample_weights", table).axes
    assert [line.get_ydata()[0] for line in axes.lines[:3]] == [0.0, 1.0, 2.0]


def test_the_title_tells_what_joint_training_does_to_the_first_and_to_the_last_exit(draw):
    gains = pd.DataFrame({"exit": [1, 2, 3, 4], "gain": [6.0, 2.0, 0.5, -0.7]})
    table = gains.assign(low=gains["gain"] - 0.2, high=gains["gain"] + 0.2, data_set="clothes")
    (axes,) = draw("joint_exits", table).axes
    assert axes.get_title("left") == "clothes: +6.0 at the first exit, -0.7 at the last"
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "branch 1",
        "branch 2",
        "branch 3",
        "backbone",
    ]


def test_the_offer_that_saves_most_on_valid_is_framed_and_named(draw):
    rows = [("independent", "CPM", 0.5, 0.9), ("mine", "CPM", 0.7, 0.6), ("independent", "entropy", 0.6, 0.8)]
    rows = [(*row, max_drop) for row in [*rows, ("mine", "entropy", 0.1, 0.2)] for max_drop in (1.0, 2.0)]
    table = pd.DataFrame(rows, columns=["training", "rule", "valid_reduction", "reduction", "max_drop"])
    table.loc[(table["max_drop"] == 1.0) & (table["training"] == "independent"), "valid_reduction"] = 0.99
    axes = draw("scheme_offers", table.assign(data_set="clothes")).axes[0]
    assert axes.get_title("left") == "clothes: for 2 points on valid, mine under CPM saves most"
    (frame,) = (patch for patch in axes.patches if not patch.get_fill())
    assert frame.get_xy() == (0, 1)
    assert {text.get_text() for text in axes.texts} == {"90.0", "80.0", "60.0", "20.0"}


def test_the_front_of_the_joint_network_is_drawn_beside_that_of_the_frozen_backbone(draw):
    rows = [("independent", 0.5, 1.0), ("independent", 0.3, 0.2), ("joint", 0.4, 0.1), ("joint", 0.6, 2.0)]
    table = pd.DataFrame(rows, columns=["training", "reduction", "drop"]).assign(data_set="clothes")
    table = table.assign(drop_low=table["drop"] - 0.1, drop_high=table["drop"] + 0.1)
    (axes,) = draw("joint_fronts", table).axes
    drawn = {line.get_label(): line.get_xdata().tolist() for line in axes.lines[:2]}
    assert drawn == {"independent branches, backbone frozen": [30, 50], "trained jointly": [40, 60]}
    assert axes.get_title("left") == "clothes: least drop 0.20 points frozen, 0.10 trained jointly"


def test_the_title_names_the_lever_that_gains_most_and_the_one_that_loses_most(draw):
    table = pd.DataFrame(
        [
            ("visits", "few", -1.5, -2.0, -1.0),
            ("exit rule", "entropy", 0.3, np.nan, np.nan),
            ("exit rule", "CPM, lower bound", -0.2, np.nan, np.nan),
        ],
        columns=["lever", "choice", "gain", "gain_low", "gain_high"],
    )
    figure = draw("scheme_levers", table.assign(data_set="fashion-mnist"))
    (axes,) = figure.axes
    assert axes.get_title("left") == "fashion-mnist: at most +0.3 by the exit rule, at worst -1.5 by the visits"
    texts = {text.get_text() for text in axes.texts}
    assert {"few -1.50", "entropy +0.30", "CPM, lower bound -0.20"} <= texts
