import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba

from btsee_lib.cost import CostModel
from btsee_lib.evaluation import FIRST_BRANCH
from btsee_lib.experiment import repository_root
from btsee_lib.pipeline import publishing
from btsee_lib.plots import FIGURES
from btsee_lib.plots.evaluation import FIRST_ALONE, NAMES
from btsee_lib.plots.schematic import cascade_table
from btsee_lib.plots.style import BLUE, GREEN, INK, PALE, SKY

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of seaborn

CLASSES = ("coat", "shirt", "bag")
CELLS = list(itertools.product(("independent", "boosted"), ("full", "survivors")))
MARGINS = (-0.05, 0.0)


def test_a_users_own_settings_do_not_reach_a_figure(repository, tmp_path):
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nlines.linewidth: 9\nfigure.facecolor: red\naxes.labelpad: 40\nfont.size: 33\n"
    )
    code = (
        "import sys\nimport pandas as pd\nfrom btsee_lib.plots import FIGURES\n"
        f"table = pd.DataFrame({fall_on_survivors().to_dict()!r})\n"
        "FIGURES['fall_on_survivors'](table).savefig(sys.argv[1])"
    )
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "own.png"], env=environment, check=True)
    FIGURES["fall_on_survivors"](fall_on_survivors()).savefig(tmp_path / "plain.png")  # here without settings
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def stage_costs():
    return pd.DataFrame({"stage": [1, 2, 3, 4], "macs": [40, 30, 20, 10], "parameters": [1, 4, 16, 64]})


def learning_curve():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "image_size": [20, 28, 28],
            "train_loss": [2.0, 1.0, 0.8],
            "valid_loss": [2.1, 1.2, 1.0],
            "valid_accuracy": [0.3, 0.6, 0.8],
        }
    )


def covariance_shift():
    networks = ("branch 1", "branch 2", "backbone")
    rows = []
    groups = ("all", (0.3, 0.3, 0.4), 0.9), ("survivors", (0.5, 0.4, 0.1), 0.7)
    for group, share, accuracy in (*groups, ("survivors of one threshold", (0.2, 0.2, 0.6), 0.6)):
        rows += [(group, "class", name, value) for name, value in zip(CLASSES, share, strict=True)]
        rows += [(group, kind, name, accuracy) for name in networks for kind in ("accuracy", "confidence")]
        rows.append((group, "number", "samples", 100))
    return pd.DataFrame(rows, columns=["group", "kind", "name", "value"])


def fall_on_survivors():
    names = ["network", "accuracy", "fall", "expected", "beyond", "low", "high"]
    parts = []
    for rule, more in {"CPM": 1.5, "one threshold": -1.0}.items():
        rows = [("width 8", 90.0, 14.0, 14.0, 0.0, -1.0, 1.0), ("backbone", 94.0, 10.0, 10.0, 0.0, -1.0, 1.0)]
        rows.append(("branch 2", 92.0, 12.0 + more, 12.0, more, more - 1, more + 1))
        parts.append(pd.DataFrame(rows, columns=names).assign(rule=rule, survivors=1600))
    return pd.concat(parts, ignore_index=True)


def threshold_search():
    parts = []
    for name, threshold in (("coat", 0.7), ("shirt", np.inf)):  # of the second nobody leaves
        confidence = np.linspace(0.99, 0.3, 8)
        rows = pd.DataFrame({"confidence": confidence, "precision": confidence, "support": range(5, 45, 5)})
        parts.append(rows.assign(**{"class": name, "bar": 0.85, "threshold": threshold}))
    return pd.concat(parts, ignore_index=True)


def one_class():
    """Calibrated on survivors it never leaves; on all images 40 leave on test."""
    parts = []
    for group, threshold, exits in (("all images", 0.7, 40), ("survivors", np.inf, 0)):
        rows = threshold_search()[:8].assign(group=group, branch=2, threshold=threshold, exits=exits)
        span = (
            {"delivered": 0.8, "low": 0.7, "high": 0.9}
            if exits
            else {"delivered": 0.0, "low": np.nan, "high": np.nan}
        )
        parts.append(rows.assign(**span))
    return pd.concat(parts, ignore_index=True)


def thresholds():
    rows = [(b, name, 0.5 + 0.1 * b) for b in (1, 2, 3) for name in CLASSES]
    table = pd.DataFrame(rows, columns=["branch", "class", "threshold"])
    table.loc[4, "threshold"] = np.inf
    return table


def promises():
    rows = [
        (calibration, b, 0.9, number, precision, broken, False)
        for calibration in ("full", "survivors")
        for b in (1, 2, 3)
        for number, precision, broken in ((50, 0.92, False), (200, 0.7, True))
    ]
    rows.append(("full", 1, 1.0, 40, 0.95, False, True))
    return pd.DataFrame(
        rows, columns=["calibration", "branch", "bar", "exits", "precision", "broken", "at_ceiling"]
    )


def fronts():
    rows = [
        (*cell, 0.1 * number, 0.5 * number, number != 3, 0.5 if number == 2 else np.nan)
        for cell in (*CELLS, FIRST_BRANCH)
        for number in (1, 2, 3, 4)
    ]
    columns = ["training", "calibration", "reduction", "drop", "on_front", "recommended"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(drop_low=table["drop"] - 0.1, drop_high=table["drop"] + 0.1)


def equal_compute():
    rows = [
        (*cell, reduction, 0.2, -0.1, 0.5)
        for cell in CELLS
        if cell != ("independent", "full")
        for reduction in (0.1, 0.2, 0.3, np.nan)
    ]
    return pd.DataFrame(rows, columns=["training", "calibration", "reduction", "gain", "low", "high"])


def equal_margins():
    less = [0.5, 0.4, 0.3, -0.2, 0.0, -0.3]  # better in both twice, worse in both once
    more = [0.1, 0.2, -0.1, -0.1, 0.1, 0.2]
    rows = pd.DataFrame({"m1": range(6), "less_drop": less, "more_reduction": more})
    return pd.concat([rows.assign(rival=name) for name in ("conventional cascade", "same calibration")])


def cascade():
    return cascade_table(CostModel((40, 30, 20, 10), (1, 2, 3)), [0.5, 0.2, 0.2, 0.1])


def kept_promises():
    rules = ["CPM", "CPM, smoothed precision", "CPM, lower bound"]
    table = pd.DataFrame({"rule": rules, "kept": [0.46, 0.35, 0.89], "saved_less": [0.0, -1.0, 10.4]})
    table["reduction"] = [0.545, 0.556, 0.44]
    table["kept_together"] = [0.5, 0.4, 1.0]
    for name in ("kept", "reduction"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    return table


def rivals():
    rows = [
        ("independent", "survivors", 0.4, 0.1),
        ("boosted", "survivors", 0.5, 0.6),
        ("static", "none", 0.6, 1.5),
    ]
    table = pd.DataFrame(rows, columns=["training", "calibration", "reduction", "drop"])
    table["width"] = [np.nan, np.nan, 8]
    return table.assign(drop_low=table["drop"] - 0.2, drop_high=table["drop"] + 0.2)


def verdicts_by_backbone():
    rows = [
        (seed, claim, seed - 1.0, "reproduced here" if held else "not reproduced here")
        for seed in (0, 1, 2)
        for claim, held in (("1a shift", True), ("2 sequence", False), ("6a saved", seed == 1))
    ]
    return pd.DataFrame(rows, columns=["backbone_seed", "claim", "measured", "verdict"])


def class_exits():
    rows = [(name, exit, share) for name in CLASSES for exit, share in enumerate((0.4, 0.3, 0.2, 0.1), start=1)]
    return pd.DataFrame(rows, columns=["class", "exit", "share"])


def latency_by_exit():
    return pd.DataFrame({"exit": [1, 1, 1, 2, 4, 4], "milliseconds": [0.1, 0.12, 0.11, 0.2, 0.41, 0.41]})


def exit_times():
    ways = {"exit": [1, 2, 3, 4, 4, 4, 4], "branches": [1, 2, 3, 3, 2, 1, 0]}
    times = {"milliseconds": [1, 2, 3, 5, 4.8, 4.4, 4], "macs": [10, 20, 30, 40, 39, 38, 37]}
    return pd.concat(
        pd.DataFrame(ways | times | {"width": width, "batch_size": size})
        for width in (16, 64)
        for size in (1, 16)
    )


def timed():
    rows = [
        (width, engine, model, size, macs, time, 1000 / time)
        for width in (16, 64)
        for engine in ("PyTorch eager", "ONNX stages")
        for model, macs, time in (("drop <= 1", 0.33, 0.4), ("backbone", 1.0, 1.0))
        for size in (1, 16)
    ]
    return pd.DataFrame(
        rows,
        columns=["width", "engine", "model", "batch_size", "macs_ratio", "time_ratio", "images_per_second"],
    )


def time_against_macs():
    return timed()[timed()["model"] != "backbone"]


def throughput():
    return timed()


def static_networks():
    rows = [("cascade", np.nan, 0.3, 0.4, 0.92), ("cascade", np.nan, 0.5, 0.6, 0.93)]
    rows += [("static", 8, 0.25, 0.45, 0.92), ("static", 16, 1.0, 1.0, 0.93)]
    return pd.DataFrame(rows, columns=["kind", "width", "macs_ratio", "time_ratio", "accuracy"])


def latency_budget():
    return pd.DataFrame(
        {"milliseconds": [1.0, 2, 3, 2.5], "valid_drop": [2.0, 1, 0.1, 1.5], "drop": [2.1, 0.9, 0.2, 1.4]}
    )


def scaling():
    points = [(100, 8), (200, 8), (400, 8), (100, 16)]
    return pd.DataFrame(
        [
            (task, images, width, images * width / 800, 50 + images * (task == "all configurations"))
            for task in ("feature pass", "one branch", "all configurations", "one epoch")
            for images, width in points
        ],
        columns=["task", "images", "width", "seconds", "megabytes"],
    )


MADE_UP = {
    function.__name__: function
    for function in (
        *(stage_costs, learning_curve, threshold_search, thresholds, promises),
        *(covariance_shift, fall_on_survivors, one_class, cascade),
        *(fronts, equal_compute, equal_margins, rivals, kept_promises, class_exits, verdicts_by_backbone),
        *(latency_by_exit, exit_times, time_against_macs, throughput, static_networks, latency_budget, scaling),
    )
}
OURS = [name for name, draw in FIGURES.items() if draw.__module__.startswith("btsee_lib.")]


def table_of(name):
    """A made-up table of few rows, or the published one."""
    published = repository_root(Path(__file__).parent) / "reports" / "tables"
    return MADE_UP[name]() if name in MADE_UP else pd.read_csv(published / f"{name}.csv")


NO_LEGEND = {
    *("nearest_mean_confusion", "accuracy_by_clarity", "stage_costs", "confusion", "class_precision"),
    *("thresholds", "equal_compute", "equal_margins", "cascade", "class_exits"),
    *("latency_by_exit", "scheme_standings", "scheme_pairs", "scheme_effort", "scheme_rules"),
    *("scheme_levers", "scheme_offers", "joint_exits", "verdicts_by_backbone"),
}
PANELS = {"stage_costs": 3, "learning_curve": 2, "covariance_shift": 2, "threshold_search": 2}
PANELS |= {
    "margin_effect": 2,
    "one_class": 2,
    "promises": 2,
    "kept_promises": 2,
    "equal_compute": 3,
    "equal_margins": 2,
}
PANELS |= {
    "fall_on_survivors": 2,
    "branch_kinds": 3,
    "learning_curves": 3,
    "scheme_effort": 4,
    "gains_by_images": 2,
}
# A panel for each data set that has been measured.
PANELS |= {"scheme_standings": 2, "scheme_pairs": 2, "scheme_rules": 2, "scheme_levers": 2}
PANELS |= {"scheme_offers": 2, "scheme_fronts": 2, "gains_over_networks": 2}
PANELS |= {"exit_times": 2, "time_against_macs": 2, "throughput": 2, "static_networks": 2, "scaling": 4}


def panels(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def title(axes):
    return axes.get_title(loc="left")


def legend(axes):
    found = axes.get_legend()
    return [text.get_text() for text in found.get_texts()] if found else []


def written(axes):
    return [text.get_text() for text in axes.texts]


def same_colour_of_text(text, colour):
    return to_rgba(text.get_color()) == to_rgba(colour)


def same_colour(artist, colour):
    return artist.get_facecolor() == to_rgba(colour)


@pytest.fixture
def figure_of():
    drawn = []

    def draw(name, table=None):
        drawn.append(FIGURES[name](table_of(name) if table is None else table))
        return drawn[-1]

    yield draw
    for figure in drawn:
        plt.close(figure)


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning", "error::FutureWarning")
@pytest.mark.parametrize("name", OURS)
def test_a_figure_names_what_it_shows(figure_of, name):
    table = table_of(name)
    before = table.copy()
    figure = figure_of(name, table)
    figure.draw_without_rendering()
    pd.testing.assert_frame_equal(table, before)
    shown = panels(figure)
    assert len(shown) == PANELS.get(name, 1)
    untitled = shown[{"margin_effect": 1, "scaling": 2}.get(name, len(shown)) :]
    assert all(title(axes) for axes in shown if axes not in untitled)
    assert any(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)
    bars = [axes for axes in figure.axes if axes not in shown]
    assert all(axes.get_ylabel() for axes in bars)
    assert any(legend(axes) for axes in shown) == (name not in NO_LEGEND)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("class_mix", ["all images", "the unclear half"]),
        ("learning_curve", ["training", "validation"]),
        ("covariance_shift", ["all", "survivors", "survivors of one threshold"]),
        ("training_gains", ["branch 2", "branch 3"]),
        ("margin_effect", ["branch 1", "branch 2", "branch 3", "backbone"]),
        ("promises", ["kept, or too few to tell", "broken", "bar of 100 %"]),
    ],
)
def test_a_legend_names_all_that_is_told_apart(figure_of, name, expected):
    (found,) = [legend(axes) for axes in panels(figure_of(name)) if legend(axes)]
    assert found == expected


def test_the_colours_of_the_cells_are_all_different():
    assert list(NAMES) == CELLS
    assert len(set(NAMES.values())) == 4
    assert len({colour for _, colour in NAMES.values()}) == 4


def test_classes_stand_in_the_order_of_their_share_of_the_survivors(figure_of):
    mix, _ = panels(figure_of("covariance_shift"))
    assert [text.get_text() for text in mix.get_yticklabels()] == ["coat", "shirt", "bag"]


def test_the_costs_of_the_stages_are_shares_of_all(figure_of):
    widths = [[bar.get_width() for bar in axes.patches] for axes in panels(figure_of("stage_costs"))]
    assert widths[0] == pytest.approx([40, 30, 20, 10])
    assert widths[1] == pytest.approx([40, 70, 90, 100])
    assert sum(widths[2]) == pytest.approx(100)


def test_small_images_are_pointed_out_only_where_there_were_some(figure_of):
    assert written(panels(figure_of("learning_curve"))[1]) == ["trained on 20 x 20 pixels"]
    assert written(panels(figure_of("learning_curve", learning_curve().assign(image_size=28)))[1]) == []


def test_a_class_that_never_leaves_has_no_threshold_to_show(figure_of):
    leaves, stays = panels(figure_of("threshold_search"))
    assert legend(leaves) == ["these leave", "bar 85.0 %", "threshold 0.70"]
    assert not any(each.startswith("threshold") for each in legend(stays))
    assert title(stays) == "shirt: 0 % may leave"
    cells = written(panels(figure_of("thresholds"))[0])
    assert cells.count("never") == 1
    assert len(cells) == 9


def test_the_fall_of_a_branch_is_told_by_its_distance_from_the_line_of_networks(figure_of):
    first, second = panels(figure_of("fall_on_survivors"))
    assert title(first) == "CPM\nbranch 2: +1.5 from the line (+0.5 to +2.5)"
    assert title(second) == "one threshold\nbranch 2: -1.0 from the line (-2.0 to +0.0)"
    for axes, fall in ((first, 13.5), (second, 11.0)):
        line, networks, branch = axes.lines[:3]
        assert line.get_xydata().tolist() == [[90, 14], [92, 12], [94, 10]]
        assert networks.get_xydata().tolist() == [[90, 14], [94, 10]]
        assert branch.get_xydata().tolist() == [[92, fall]]
        assert written(axes) == ["width 8", "backbone", "branch 2"]
        assert same_colour_of_text(axes.texts[-1], BLUE) and same_colour_of_text(axes.texts[0], GREEN)


def test_one_class_is_promised_at_its_bar_and_delivered_where_it_leaves(figure_of):
    promised, delivered = panels(figure_of("one_class"))
    assert legend(promised) == ["all images: lets out from 0.7000", "survivors: never lets out", "bar: 85.0 %"]
    upright = [line for line in promised.lines if len(set(line.get_xdata())) == 1]
    assert [set(line.get_xdata()) for line in upright] == [{0.7}]
    for axes in (promised, delivered):
        (bar,) = [line for line in axes.lines if line.get_color() == INK]
        assert set(bar.get_ydata()) == {85.0}
    assert written(delivered) == ["80.0 %"]
    names = [text.get_text().replace("\n", " ") for text in delivered.get_xticklabels()]
    assert names == ["calibrated on all images 40 leave", "calibrated on survivors 0 leave"]


def test_a_class_without_survivors_is_promised_on_all_images_alone(figure_of):
    table = one_class()
    promised, _ = panels(figure_of("one_class", table[table["group"] == "all images"]))
    assert legend(promised) == ["all images: lets out from 0.7000", "bar: 85.0 %"]


def test_without_networks_the_fall_of_a_branch_is_told_alone(figure_of):
    parts = ["expected", "beyond", "low", "high"]
    table = fall_on_survivors().assign(**dict.fromkeys(parts, np.nan))
    first, second = panels(figure_of("fall_on_survivors", table))
    assert title(first) == "CPM\nbranch 2: falls by 13.5 points"
    assert legend(first) == legend(second) == []


def test_broken_promises_are_counted_among_those_that_can_break(figure_of):
    found = [title(axes) for axes in panels(figure_of("promises"))]
    told = "50 % broken behind branch 1, all margins together"
    assert found == [f"Calibrated on all images:\n{told}", f"Calibrated on survivors:\n{told}"]


def test_the_fronts_are_those_of_baseline_first_branch_and_proposal(figure_of):
    (axes,) = panels(figure_of("fronts"))
    assert legend(axes) == [NAMES[CELLS[0]][0], FIRST_ALONE[0], NAMES[CELLS[3]][0]]
    curves = [line for line in axes.lines if line.get_label() in legend(axes)]
    for line in curves:
        assert line.get_xdata() == pytest.approx([10, 20, 40])
    assert written(axes) == ["20 % saved for 1.0 points"]


def test_without_a_recommendation_no_configuration_is_pointed_out(figure_of):
    (axes,) = panels(figure_of("fronts", fronts().assign(recommended=np.nan)))
    assert written(axes) == []


def test_the_gain_at_equal_compute_stands_in_the_title(figure_of):
    for axes in panels(figure_of("equal_compute")):
        assert title(axes).endswith("mean +0.20 (-0.10 to +0.50)")


def test_who_is_better_and_worse_in_both_is_counted(figure_of):
    for axes in panels(figure_of("equal_margins")):
        assert written(axes) == ["better in both: 2", "worse in both: 1"]


@pytest.mark.parametrize("home", ["reports", "reports/cifar-10"])
@pytest.mark.parametrize("name", ["training_gains", "equal_margins"])
def test_words_stand_beside_the_points_and_lines_and_not_among_them(figure_of, repository, home, name):
    figure = figure_of(name, pd.read_csv(repository / home / "tables" / f"{name}.csv"))
    figure.draw_without_rendering()
    for axes in panels(figure):
        assert written(axes)
        assert not [each for each in axes.texts if each.get_window_extent().overlaps(axes.bbox)]


def test_classes_that_leave_early_stand_first(figure_of):
    table = class_exits()
    table.loc[(table["class"] == "bag") & (table["exit"] == 1), "share"] = 0.9
    (axes,) = panels(figure_of("class_exits", table))
    assert axes.get_yticklabels()[0].get_text() == "bag"
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        *("branch 1", "branch 2", "branch 3"),
        "backbone",
    ]


@pytest.mark.parametrize("name", ["thresholds", "promises", "margin_effect"])
def test_equal_tables_give_equal_bytes(workspace, name):
    tables = workspace / "reports" / "tables"
    tables.mkdir(parents=True)
    table_of(name).to_csv(tables / f"{name}.csv", index=False)
    figure = Path("reports/figures") / f"{name}.png"
    open_before = plt.get_fignums()
    drawn = []
    for _ in range(2):
        assert publishing.draw(name) is True
        drawn.append(figure.read_bytes())
        figure.unlink()
    assert drawn[0] == drawn[1]
    assert b"matplotlib" not in drawn[0].lower()
    assert plt.get_fignums() == open_before


def test_every_exit_that_was_taken_has_its_own_colour_and_time(figure_of):
    (axes,) = panels(figure_of("latency_by_exit"))
    assert written(axes) == ["exit 1\n0.11 ms", "exit 2\n0.20 ms", "exit 4\n0.41 ms"]
    assert len({tuple(bars.patches[0].get_facecolor()) for bars in axes.containers}) == 3


def test_shares_of_time_and_macs_add_up_to_the_whole_way(figure_of):
    for axes in panels(figure_of("exit_times")):
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        assert [sum(each) for each in heights] == pytest.approx([100, 100, 100])
        assert heights[0] == pytest.approx([25, 25, 25, 25])
        assert heights[1] == pytest.approx([20, 20, 20, 40])


def test_the_throughput_title_tells_the_gain_of_the_cascade(figure_of):
    assert "(drop <= 1) answers 2.5 to 2.5 times" in figure_of("throughput").get_suptitle()


def test_the_rival_is_the_narrower_network_and_its_costs_stand_in_the_title(figure_of):
    figure = figure_of("static_networks")
    assert figure.get_suptitle().endswith("width 8: 25 % of MACs, 45 % of time")
    for axes in panels(figure):
        assert written(axes) == ["width 8", "width 16"]


def test_points_above_the_line_are_counted_in_the_title(figure_of):
    table = time_against_macs()
    table.loc[table["width"] == 64, "time_ratio"] = 0.1
    title_written = figure_of("time_against_macs", table).get_suptitle()
    assert title_written.endswith("width 16: 100 %; width 64: 0 %")


def test_the_budget_curve_holds_only_what_no_faster_one_beats(figure_of):
    (axes,) = panels(figure_of("latency_budget"))
    (curve,) = [line for line in axes.lines if line.get_label().startswith("best")]
    assert curve.get_ydata().tolist() == [2.0, 1.0, 0.1]


def test_how_time_and_memory_of_the_feature_pass_grow_stands_in_the_title(figure_of):
    figure = figure_of("scaling")
    assert figure.get_suptitle() == "Feature pass: 4 times the images, 4 times the time, 1 times the memory"
    by_images, by_width = (axes.lines for axes in panels(figure)[:2])
    assert [len(line.get_xdata()) for line in by_images] == [3, 3, 3, 3]
    assert [list(line.get_xdata()) for line in by_width] == [[8, 16]] * 4


@pytest.mark.parametrize("name", FIGURES)
def test_a_table_without_rows_is_said_to_have_none(name):
    figure = FIGURES[name](pd.DataFrame(columns=["branch"]))
    assert figure.axes[0].texts[0].get_text() == f"nothing to draw: the table {name} has no rows here"
    plt.close(figure)


@pytest.mark.parametrize("name", ["class_exits", "thresholds"])
def test_a_class_may_be_called_by_a_formula(figure_of, name):
    table = table_of(name)
    figure_of(
        name, table.assign(**{"class": [rf"$\x$ {each}" for each in table["class"]]})
    ).draw_without_rendering()


def test_of_verdicts_by_backbone_those_that_are_the_same_on_all_are_counted(figure_of):
    figure = figure_of("verdicts_by_backbone")
    (axes,) = figure.axes
    assert title(axes).startswith("2 of 3 verdicts are the same on all 3 backbones")
    assert [text.get_text() for text in axes.texts] == ["-1.00", "0.00", "1.00"] * 3
    grounds = axes.collections[0].get_facecolors().reshape(3, 3, 4)
    assert (grounds[0] == to_rgba(SKY)).all()
    assert (grounds[1] == to_rgba(PALE)).all()
    assert (grounds[2] == [to_rgba(PALE), to_rgba(SKY), to_rgba(PALE)]).all()


def test_rules_under_which_nothing_leaves_have_no_best_one():
    figure = FIGURES["kept_promises"](kept_promises().assign(kept=np.nan))
    assert figure.get_suptitle() == ""
    plt.close(figure)
