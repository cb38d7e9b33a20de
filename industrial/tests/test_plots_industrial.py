import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from btsee_lib.plots import FIGURES
from solar_cells import plots

MEASURES = ("missed", "alarms", "cost", "saved")


def measured(rows):
    """The measures of as many rows, with intervals around them."""
    table = pd.DataFrame({name: np.linspace(0.2, 0.4, rows) for name in MEASURES})
    for name in MEASURES:
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    return table


def module_defects():
    share = np.linspace(0, 0.9, 8)
    return pd.DataFrame(
        {
            "module": range(8),
            "type": ["mono", "poly"] * 4,
            "cells": 60,
            "defective": share,
            "split": ["train", "train", "valid", "test"] * 2,
        }
    )


def leakage():
    return pd.DataFrame(
        {
            "seed": [0, 0, 1, 1] * 2,
            "split": ["at random"] * 4 + ["by module"] * 4,
            "accuracy": [0.8, 0.78, 0.79, 0.77, 0.7, 0.8, 0.69, 0.71],
            "majority": [0.69] * 8,
        }
    )


def boosting_gains():
    return pd.DataFrame(
        {"branch": [2, 3, 3], "train_examples": [3000, 900, 400], "gain": [1.0, -2.0, 8.0], "fold": [0, 0, 1]}
    )


def backbone_folds():
    return measured(3).assign(group=["fold 0", "fold 1", "all cells"])


def inspection_sweep():
    kinds = [measured(3).assign(scheme=kind) for kind in ("equal", "unequal")]
    table = pd.concat(kinds, ignore_index=True).assign(backbone_missed=0.3, backbone_alarms=0.2)
    table["knob"] = [-0.1, 0.0, 0.1] * 2
    table.loc[table["scheme"] == "unequal", "missed"] -= 0.02
    table.loc[table["scheme"] == "unequal", "alarms"] += 0.03
    return table


def inspection_schemes():
    return measured(3).assign(scheme=["backbone", "baseline, equal margins", "baseline, unequal margins"])


TABLES = {
    function.__name__: function
    for function in (
        *(module_defects, leakage, backbone_folds, boosting_gains),
        *(inspection_sweep, inspection_schemes),
    )
}
PANELS = {
    "module_defects": 2,
    "leakage": 1,
    "backbone_folds": 2,
    "boosting_gains": 1,
    "inspection_sweep": 2,
    "inspection_schemes": 4,
}


def test_every_figure_of_the_notebook_is_tested_here():
    ours = {name for name, draw in FIGURES.items() if draw.__module__ == plots.__name__}
    assert ours == set(TABLES)


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning", "error::FutureWarning")
@pytest.mark.parametrize("name", TABLES)
def test_a_figure_names_what_it_shows(name):
    table = TABLES[name]()
    before = table.copy()
    figure = FIGURES[name](table)
    figure.draw_without_rendering()
    pd.testing.assert_frame_equal(table, before)
    assert len(figure.axes) == PANELS[name]
    assert all(axes.get_title(loc="left") for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()
    plt.close(figure)


def test_rates_are_drawn_in_percent_with_the_backbone_beside_them():
    figure = plots.inspection_sweep(inspection_sweep())
    for axes, measure in zip(figure.axes, ("missed", "alarms"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        expected = 100 * inspection_sweep()[measure][:3]
        assert lines["equal margins"].get_ydata() == pytest.approx(expected.tolist())
        assert len(lines) == 3
    plt.close(figure)


def test_a_deal_has_a_row_of_its_own_and_the_bar_is_the_mean_of_all():
    figure = plots.leakage(leakage())
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in dots] == [[80, 78], [79, 77], [70, 80], [69, 71]]
    assert len({line.get_ydata()[0] for line in dots}) == 4
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words[:2] == ["78.5 %", "72.5 %"]
    plt.close(figure)


def test_gains_are_drawn_against_examples_and_the_axis_says_so():
    figure = plots.boosting_gains(boosting_gains())
    assert "training examples" in figure.axes[0].get_xlabel()
    drawn = [tuple(point) for dots in figure.axes[0].collections for point in dots.get_offsets()]
    assert drawn == [(3000, 1), (900, -2), (400, 8)]
    plt.close(figure)


def test_titles_say_what_the_table_shows():
    titles = {
        name: [axes.get_title(loc="left") for axes in FIGURES[name](TABLES[name]()).axes] for name in TABLES
    }
    plt.close("all")
    assert titles["backbone_folds"] == [
        "Missed defects: 20 to 30 %, by fold",
        "False alarms: 20 to 30 %, by fold",
    ]
    assert titles["boosting_gains"] == ["Training on survivors is ahead at 2 of 3 branches"]
    assert titles["inspection_sweep"] == [
        "Missed defects: \N{MINUS SIGN}2.0 points on average by the stricter margin",
        "False alarms: +3.0 points on average by the stricter margin",
    ]
    assert titles["inspection_schemes"][-1] == "Saved: 30 to 40"
    assert titles["module_defects"][0].endswith("0 to 77 % of the cells of a module are defective")
