import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import CLASSES, made_up_features, made_up_tree, paths_of

from btsee_lib import config, evaluation
from btsee_lib.boosting import calibration_terms, configurations
from btsee_lib.calibration import confidence_and_class
from btsee_lib.cost import CostModel
from btsee_lib.evaluation import BASELINE, BTS_EE, Calibrator, Cell, cells_of, of_cell
from btsee_lib.exit_rules import EXIT_RULES

IMAGES = {"train": 10, "valid": 150, "test": 120}
MARGINS = [-0.05, 0.1]
COST = CostModel(stages=(100, 120, 80, 100), branches=(7, 5, 3))
CELLS = [Cell(*each) for each in itertools.product(("independent", "boosted"), ("full", "survivors"))]
COLUMNS = [
    *("seed", "training", "calibration", "m1", "m2", "m3", "accuracy", "drop", "reduction"),
    *("exit1", "exit2", "exit3", "exit4", "valid_drop", "valid_reduction"),
]


@pytest.fixture(scope="module")
def few_margins():
    return config.BoostingParameters(
        seeds=[0, 1], margins=[MARGINS] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20
    )


def made_up_pair(seed, features, generator):
    """An independent tree of three branches and a boosted one of 1 + 2 + 4, with the first branch in common."""
    alone = made_up_tree("independent", seed, features, (1, 2, 3), generator)
    tree = made_up_tree("boosted", seed, features, paths_of(MARGINS), generator)
    for name, logits in tree.logits.items():
        logits[0] = alone.logits[name][0]
    return [alone, tree]


@pytest.fixture(scope="module")
def made_up():
    """Features, and the trees of two seeds: seed by seed, scheme by scheme."""
    generator = torch.Generator().manual_seed(0)
    features = made_up_features(IMAGES, generator)
    return features, [tree for seed in (0, 1) for tree in made_up_pair(seed, features, generator)]


@pytest.fixture(scope="module")
def decisions(made_up, few_margins):
    features, trees = made_up
    return evaluation.evaluate_configurations(trees, features, COST, few_margins)


@pytest.fixture(scope="module")
def averaged(decisions):
    return evaluation.mean_over_seeds(decisions.table)


def test_there_is_a_row_for_every_seed_cell_and_configuration(decisions, few_margins):
    table = decisions.table
    assert list(table.columns) == COLUMNS
    names = table[COLUMNS[:6]].itertuples(index=False, name=None)
    expected = [(seed, *cell, *m) for seed in (0, 1) for cell in CELLS for m in configurations(few_margins)]
    assert list(names) == expected
    assert decisions.correct.shape == decisions.cost.shape == (2 * 4 * 8, 120)
    assert decisions.cost.dtype == np.float32
    assert decisions.backbone_cost == 400


def test_the_rows_are_those_of_the_verdicts_and_costs_image_by_image(decisions):
    table = decisions.table
    backbone = decisions.backbone_correct.mean()
    assert table["accuracy"].to_numpy() == pytest.approx(decisions.correct.mean(1))
    assert table["drop"].to_numpy() == pytest.approx(100 * (backbone - decisions.correct.mean(1)))
    assert table["reduction"].to_numpy() == pytest.approx(1 - decisions.cost.mean(1) / 400)
    assert table.filter(like="exit").sum(axis=1).to_numpy() == pytest.approx(np.ones(len(table)))
    assert (table.filter(like="exit").max() > 0.05).all()


def node_by_hand(tree, path):
    """Where the branch behind the margins of a path stands."""
    nodes = tree.nodes
    chosen = nodes["branch"] == len(path) + 1
    if tree.scheme == "boosted":
        for b, margin in enumerate(path, start=1):
            chosen &= nodes[f"m{b}"] == margin
    (position,) = nodes.index[chosen]
    return position


def thresholds_by_hand(sure, answers, labels, bars, support, calibration):
    """Class Precision Margin in plain loops: a dict of thresholds for each branch."""
    left, found = set(range(len(labels))), []
    for b in range(3):
        seen = left if calibration == "survivors" else set(range(len(labels)))
        thresholds = {}
        for c in range(CLASSES):
            mine = [i for i in seen if answers[b][i] == c]
            thresholds[c] = math.inf
            for t in {sure[b][i] for i in mine}:
                above = [i for i in mine if sure[b][i] >= t]
                precision = sum(labels[i] == c for i in above) / len(above)
                if len(above) >= support and precision >= bars[b][c]:
                    thresholds[c] = min(t, thresholds[c])
        left = {i for i in left if sure[b][i] < thresholds[answers[b][i]]}
        found.append(thresholds)
    return found


def bars_by_hand(valid, margins):
    answers, labels = valid.predicted.tolist(), valid.labels.tolist()
    precision = [
        sum(a == b == c for a, b in zip(answers, labels, strict=True)) / answers.count(c)
        for c in range(CLASSES)
    ]
    return [[min(1.0, each - margin) for each in precision] for margin in margins]


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_agrees_with_a_computation_in_plain_loops(made_up, decisions, cell):
    (training, calibration), margins = cell, (0.1, -0.05, 0.1)
    features, trees = made_up
    (tree,) = (each for each in trees if (each.scheme, each.seed) == (training, 1))
    nodes = [node_by_hand(tree, margins[:b]) for b in range(3)]
    sure, answers = {}, {}
    for name in ("valid", "test"):
        sure[name], answers[name] = (each.tolist() for each in confidence_and_class(tree.logits[name][nodes]))
    valid, test = features["valid"], features["test"]
    bars = bars_by_hand(valid, margins)
    labels = valid.labels.tolist()
    thresholds = thresholds_by_hand(sure["valid"], answers["valid"], labels, bars, 3, calibration)
    # A branch whose classes all stay is not run.
    paid = [
        cost if min(each.values()) < math.inf else 0
        for cost, each in zip(COST.branches, thresholds, strict=True)
    ]
    right, macs, exits = [], [], []
    for i, label in enumerate(test.labels.tolist()):
        taken = next((b for b in range(3) if sure["test"][b][i] >= thresholds[b][answers["test"][b][i]]), 3)
        answer = answers["test"][taken][i] if taken < 3 else int(test.predicted[i])
        right.append(answer == label)
        macs.append(sum(COST.stages[: taken + 1]) + sum(paid[: taken + 1]))
        exits.append(taken)
    backbone = sum(a == b for a, b in zip(test.predicted.tolist(), test.labels.tolist(), strict=True)) / 120

    table = of_cell(decisions.table, cell)
    row = table[(table["seed"] == 1) & (table[["m1", "m2", "m3"]] == list(margins)).all(axis=1)]
    (position,), row = row.index, row.iloc[0]
    assert len(set(exits)) > 2
    assert decisions.correct[position].tolist() == right
    assert decisions.cost[position].tolist() == macs
    assert row["accuracy"] == pytest.approx(sum(right) / 120)
    assert row["drop"] == pytest.approx(100 * (backbone - sum(right) / 120))
    assert row["reduction"] == pytest.approx(1 - sum(macs) / 120 / 400)
    assert [row[f"exit{b}"] for b in (1, 2, 3, 4)] == pytest.approx([exits.count(b) / 120 for b in range(4)])


def test_the_first_branch_depends_on_its_margin_alone(decisions):
    """It meets everyone, so neither calibration nor training before it can make a difference."""
    assert (decisions.table.groupby(["seed", "m1"])["exit1"].nunique() == 1).all()
    behind = decisions.table.groupby(["seed", "m1", "m2", "m3"])["exit2"].nunique()
    assert (behind > 1).any()


def test_thresholds_are_set_on_valid_and_the_outputs_are_those_of_the_chosen_branches(made_up, few_margins):
    features, trees = made_up
    terms, margins = calibration_terms(features, few_margins), (0.1, -0.05, 0.1)
    for tree in trees:
        rows = [node_by_hand(tree, margins[:b]) for b in range(3)]
        outputs, thresholds = Calibrator(tree, features, terms).calibrated(margins)
        assert list(outputs) == ["valid", "test"]
        for name, found in outputs.items():
            for values, expected in zip(found, confidence_and_class(tree.logits[name][rows]), strict=True):
                assert torch.equal(values, expected)
        by_hand = thresholds_by_hand(
            *(each.tolist() for each in outputs["valid"]),
            features["valid"].labels.tolist(),
            bars_by_hand(features["valid"], margins),
            3,
            "survivors",
        )
        assert thresholds.tolist() == [[each[c] for c in range(CLASSES)] for each in by_hand]


@pytest.mark.parametrize("name", ["confidence", "entropy"])
def test_configurations_can_be_evaluated_under_another_exit_rule(made_up, few_margins, name):
    """A rule that takes its knob for a threshold has no use for what a branch is calibrated on."""
    features, trees = made_up
    parameters, rule = few_margins.model_copy(update={"margins": [[0.5, 0.8]] * 3}), EXIT_RULES[name]
    table = evaluation.evaluate_configurations(trees[:1], features, COST, parameters, rule).table
    full, survivors = (table[table["calibration"] == each].iloc[:, 3:] for each in ("full", "survivors"))
    pd.testing.assert_frame_equal(full.reset_index(drop=True), survivors.reset_index(drop=True))
    sure = rule.confidence(trees[0].logits["test"][0])
    for knob, rows in table.groupby("m1"):
        leaves = sure >= (knob if name == "confidence" else -knob)
        assert rows["exit1"].to_numpy() == pytest.approx(float(leaves.double().mean()))


def shuffled_test(features, trees):
    """The same trained branches and validation split, with nonsense in place of the test split."""
    generator = torch.Generator().manual_seed(5)

    def mixed():
        return torch.randperm(IMAGES["test"], generator=generator)

    test = features["test"]
    spoilt = dataclasses.replace(test, labels=test.labels[mixed()], logits=test.logits[mixed()])
    others = [
        dataclasses.replace(each, logits=each.logits | {"test": each.logits["test"][:, mixed()]})
        for each in trees
    ]
    return features | {"test": spoilt}, others


def test_no_test_image_and_no_test_label_reaches_a_choice(made_up, averaged, few_margins):
    features, trees = made_up
    other_features, other_trees = shuffled_test(features, trees)
    for tree, other in zip(trees, other_trees, strict=True):
        for calibration in ("full", "survivors"):
            chosen = [
                Calibrator(each, split, calibration_terms(split, few_margins))
                .calibrated((0.1, -0.05, 0.1), calibration)
                .thresholds
                for each, split in ((tree, features), (other, other_features))
            ]
            assert torch.isfinite(chosen[0]).any()
            assert torch.equal(*chosen)
    decided = evaluation.evaluate_configurations(other_trees, other_features, COST, few_margins)
    again = evaluation.mean_over_seeds(decided.table)
    assert not np.allclose(again["accuracy"], averaged["accuracy"])
    pd.testing.assert_frame_equal(again.filter(like="valid_"), averaged.filter(like="valid_"))
    assert set(evaluation.fronts(again).index) == set(evaluation.fronts(averaged).index)
    recommended = [evaluation.recommend(each, (1.0, 5.0, 20.0)) for each in (averaged, again)]
    chosen = ["max_drop", "position", "training", "calibration", "m1", "m2", "m3"]
    assert len(recommended[0]) > 4
    pd.testing.assert_frame_equal(recommended[0][chosen], recommended[1][chosen])


def test_a_closed_branch_lets_nothing_out_and_costs_nothing(made_up, decisions, few_margins):
    features, trees = made_up
    closed = []
    for each in trees:
        shut = (each.nodes["branch"] == 2) & (each.scheme == "boosted")
        closed.append(dataclasses.replace(each, nodes=each.nodes.assign(closed=shut)))
    found = evaluation.evaluate_configurations(closed, features, COST, few_margins)
    boosted = (found.table["training"] == "boosted").to_numpy()
    assert (found.table.loc[boosted, "exit2"] == 0).all()
    assert (found.table.loc[boosted, "exit3"] > 0).all()
    assert set(found.cost[boosted].ravel()) == {107, 310, 410}
    pd.testing.assert_frame_equal(found.table[~boosted], decisions.table[~boosted])


def test_the_exits_of_the_classes_average_to_those_of_all(made_up, averaged, few_margins):
    features, trees = made_up
    margins, boosted = (-0.05, 0.1, 0.1), [each for each in trees if each.scheme == "boosted"]
    terms = calibration_terms(features, few_margins)
    table = evaluation.class_exits(boosted, features, terms, margins, ("a", "b", "c"))
    assert list(table.columns) == ["class", "exit", "share"]
    grid = table.pivot(index="class", columns="exit", values="share")
    assert grid.columns.tolist() == [1, 2, 3, 4]
    assert grid.sum(axis=1).to_numpy() == pytest.approx(np.ones(3))
    weights = torch.bincount(features["test"].labels).numpy() / IMAGES["test"]
    rows = of_cell(averaged, BTS_EE)
    row = rows[(rows[["m1", "m2", "m3"]] == list(margins)).all(axis=1)].iloc[0]
    assert weights @ grid.to_numpy() == pytest.approx([row[f"exit{b}"] for b in (1, 2, 3, 4)])


def test_the_cells_of_a_table_are_those_that_it_holds_in_order(averaged):
    assert cells_of(averaged) == CELLS
    assert cells_of(averaged[averaged["training"] == "boosted"]) == CELLS[2:]
    assert (CELLS[0], CELLS[3]) == (BASELINE, BTS_EE)


def test_seeds_are_averaged_configuration_by_configuration(decisions, averaged):
    assert list(averaged.columns) == COLUMNS[1:]
    first, second = (decisions.table[decisions.table["seed"] == seed] for seed in (0, 1))
    assert averaged[COLUMNS[1:6]].equals(first[COLUMNS[1:6]])
    for name in COLUMNS[6:]:
        assert averaged[name].to_numpy() == pytest.approx(
            (first[name].to_numpy() + second[name].to_numpy()) / 2
        )


def test_a_row_is_named_by_the_columns_before_its_accuracy():
    table = pd.DataFrame(columns=["seed", "rule", "knob", "accuracy", "drop"])
    assert evaluation.configuration_columns(table) == ["rule", "knob"]


few_values = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(few_values, few_values), min_size=1, max_size=12))
def test_the_front_is_what_no_other_point_beats(points):
    def beats(first, second):
        (drop, reduction), (other_drop, other_reduction) = first, second
        no_worse = drop <= other_drop and reduction >= other_reduction
        return no_worse and (drop < other_drop or reduction > other_reduction)

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert evaluation.on_front(*zip(*points, strict=True)).tolist() == expected
    assert any(expected)


def of_all_cells(**columns):
    """A seed-averaged table with the same rows in every cell."""
    length = len(columns["valid_drop"])
    parts = [
        pd.DataFrame({"training": cell[0], "calibration": cell[1], "m1": range(length), "accuracy": 0.9})
        for cell in CELLS
    ]
    return pd.concat([part.assign(**columns) for part in parts], ignore_index=True)


def test_fronts_are_picked_on_valid_and_ordered_by_test():
    table = of_all_cells(
        drop=[9.0, 0.0, 5.0],
        reduction=[0.9, 0.1, 0.5],
        valid_drop=[0.0, 2.0, 1.0],
        valid_reduction=[0.2, 0.3, 0.1],
    )
    found = evaluation.fronts(table)
    assert len(found) == 8
    for cell in CELLS:
        assert of_cell(found, cell)["m1"].tolist() == [1, 0]


def test_a_curve_is_interpolated_and_keeps_its_ends():
    reduction, drop = np.array([0.4, 0.2, 0.6]), np.array([1.0, 0.0, 4.0])
    wanted = np.array([0.0, 0.2, 0.3, 0.5, 0.6, 0.9])
    assert evaluation.interpolated(wanted, reduction, drop) == pytest.approx([0, 0, 0.5, 2.5, 4, 4])


def test_points_that_differ_by_rounding_alone_both_stay_on_the_front():
    assert evaluation.on_front([1.0, 1.0 + 1e-7], [0.3, 0.3 - 1e-8]).tolist() == [True, True]
    assert evaluation.on_front([1.0, 1.01], [0.3, 0.3]).tolist() == [True, False]


def test_the_recommended_configuration_saves_most_within_the_drop_on_valid():
    table = of_all_cells(
        drop=[0.0, 9.0, 0.0, 0.0],
        reduction=[0.9, 0.1, 0.9, 0.9],
        valid_drop=[0.5, 1.0, 1.5, -0.1],
        valid_reduction=[0.2, 0.3, 0.4, 0.1],
    )
    found = evaluation.recommend(table, (0.0, 1.0, 2.0))
    assert len(found) == 12
    for max_drop, wanted in ((0.0, 3), (1.0, 1), (2.0, 2)):
        rows = found[found["max_drop"] == max_drop]
        assert list(zip(rows["training"], rows["calibration"], strict=True)) == CELLS
        assert rows["m1"].tolist() == [wanted] * 4
        assert rows["position"].tolist() == [wanted, 4 + wanted, 8 + wanted, 12 + wanted]
        assert rows["reduction"].tolist() == table.loc[rows["position"], "reduction"].tolist()


def test_a_cell_in_which_nothing_keeps_the_drop_has_no_recommendation():
    table = of_all_cells(drop=[0.0], reduction=[0.5], valid_drop=[3.0], valid_reduction=[0.5])
    table.loc[table["training"] == "boosted", "valid_drop"] = 0.5
    found = evaluation.recommend(table, (1.0, 5.0))
    assert found[found["max_drop"] == 1.0]["training"].tolist() == ["boosted"] * 2
    assert len(found) == 2 + 4
    assert of_cell(found, BASELINE)["max_drop"].tolist() == [5.0]


def test_branch_1_alone_lets_out_what_its_thresholds_let_out_and_pays_for_no_other_branch(made_up, few_margins):
    features, trees = made_up
    terms = calibration_terms(features, few_margins)
    found = evaluation.evaluate_first_branch(trees, features, COST, terms)
    alone, knobs = trees[0], evaluation.CPM.knobs
    assert found.table["m1"].tolist() == 2 * list(knobs)
    assert set(zip(found.table["training"], found.table["calibration"], strict=True)) == {
        evaluation.FIRST_BRANCH
    }
    assert (found.table[["exit2", "exit3"]] == 0).all(axis=None)
    valid, test = (confidence_and_class(alone.logits[name][0]) for name in ("valid", "test"))
    for row, knob in enumerate(knobs):
        thresholds = evaluation.CPM.thresholds(*valid, features["valid"].labels, knob, terms)
        out = (test[0] >= thresholds[test[1]]).numpy()
        right = np.where(out, test[1] == features["test"].labels, found.backbone_correct)
        assert (found.correct[row] == right).all()
        branch = 7 if torch.isfinite(thresholds).any() else 0
        assert (found.cost[row] == np.where(out, 100 + branch, 400 + branch)).all()
    assert 0 < found.table["exit1"].iloc[0] < found.table["exit1"].max() <= 1
