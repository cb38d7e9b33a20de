import numpy as np
import pandas as pd
import pytest
import torch

from btsee_lib import deployment, stored
from btsee_lib.boosting import configurations
from btsee_lib.calibration import confidence_and_class
from btsee_lib.cascade import simulate
from btsee_lib.cost import CostModel
from btsee_lib.engines import eager
from btsee_lib.evaluation import BTS_EE, calibrated

COST = CostModel(stages=(100, 100, 100, 100), branches=(5, 4, 3))


@pytest.fixture(scope="module")
def trained(independent, boosted_tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seed")
    stored._write_branches(folder, [*independent, *boosted_tree])
    return stored._read_branches(folder, 0)


@pytest.fixture(scope="module")
def margins(limits):
    return (limits.margins[0][-1], limits.margins[1][1], limits.margins[2][0])


@pytest.fixture(scope="module")
def built(trained, margins, backbone, features, branch_parameters, limits, splits):
    shape = splits.test.images.shape[1:]
    return deployment.build_cascade(trained, margins, backbone, features, branch_parameters, limits, shape)


def test_the_built_cascade_runs_as_the_evaluation_simulated_it(
    built, trained, margins, features, limits, splits
):
    said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
    chosen, thresholds = calibrated(trained, BTS_EE, margins, said, features, limits)
    sure, label = confidence_and_class(features["test"].logits)
    expected = simulate(*chosen["test"], label, thresholds, sure)
    found = deployment.in_batches(lambda part: built.predict(splits.normalise(part)), splits.test.images, 300)
    spoken = deployment.what_branches_say(trained, margins, "test")
    told = deployment.agreement(expected, found, *spoken, built.thresholds)
    assert told["unexplained"] == 0
    assert told["near_threshold"] <= 3
    assert told["largest_difference"] < 1e-4
    assert len(set(found.exit.tolist())) == 4


def test_a_branch_that_was_closed_in_training_is_closed_in_the_cascade(
    trained, margins, backbone, features, branch_parameters, limits, splits
):
    position = trained.rows("boosted", margins)[1]
    nodes = trained.nodes.copy()
    nodes.loc[position, "closed"] = True
    states = [{} if number == position else state for number, state in enumerate(trained.states)]
    shut = stored.SeedBranches(0, nodes, trained.logits, states)
    shape = splits.test.images.shape[1:]
    found = deployment.build_cascade(shut, margins, backbone, features, branch_parameters, limits, shape)
    assert found.closed[1]
    assert 1 not in found.predict(splits.normalise(splits.test.images[:100])).exit


def test_disagreements_are_counted_and_those_near_a_threshold_explained():
    expected = (torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.tensor([0.9, 0.9, 0.9, 0.9]))
    found = (np.array([0, 1, 1, 1]), np.array([1, 1, 0, 1]), np.array([0.5, 0.9, 0.8, 0.9]))
    confidence = torch.tensor([[0.50001, 0.9, 0.9, 0.4]])
    told = deployment.agreement(
        expected, found, confidence, torch.zeros(1, 4, dtype=torch.int64), torch.tensor([[0.5]])
    )
    assert told.pop("largest_difference") == pytest.approx(0.1)
    assert told == {"other_label": 1, "other_exit": 1, "near_threshold": 1, "unexplained": 1}


def configurations_table():
    """A stricter and a looser configuration of the proposal, and a better one of the baseline."""
    rows = [
        ("boosted", "survivors", -0.02, 0.0, 0.0, 0.4, 0.6),
        ("boosted", "survivors", 0.0, 0.0, 0.0, 1.5, 0.7),
        ("independent", "full", 0.0, -0.02, 0.0, 0.1, 0.9),
    ]
    columns = ["training", "calibration", "m1", "m2", "m3", "valid_drop", "valid_reduction"]
    return pd.DataFrame(rows, columns=columns)


def test_recommended_margins_are_those_of_the_proposal_that_save_most(limits):
    found = deployment.recommended_margins(configurations_table(), [0.5, 1.0, 2.0], limits)
    assert found == {0.5: (-0.02, 0.0, 0.0), 1.0: (-0.02, 0.0, 0.0), 2.0: (0.0, 0.0, 0.0)}
    assert deployment.name_of(1.0, found) == "drop <= 0.5 and 1"
    assert deployment.name_of(2.0, found) == "drop <= 2"


def test_without_a_recommendation_the_strictest_margins_are_taken(limits):
    strictest = tuple(min(each) for each in limits.margins)
    assert deployment.recommended_margins(configurations_table(), [0.1], limits) == {0.1: strictest}


def test_the_break_even_makes_the_mean_cost_that_of_the_backbone():
    by_exit, backbone = [30.0, 55.0, 80.0, 106.0], 100.0
    shares = deployment.break_even(by_exit, backbone)
    assert len(shares) == 3
    for share, cost in zip(shares, by_exit, strict=False):
        assert share * cost + (1 - share) * by_exit[-1] == pytest.approx(backbone)


def test_the_gain_over_a_static_network_is_paired():
    cascade, static = np.ones(1000, bool), np.ones(1000, bool)
    static[:20] = False
    gain, low, high = deployment.against_static(cascade, static)
    assert gain == pytest.approx(2.0)
    assert 1 < low < 2 < high < 3
    assert deployment.against_static(static, static) == (0, 0, 0)


def test_the_time_of_a_configuration_is_the_mean_over_its_exits_on_valid(trained, features, limits):
    table = deployment.configuration_times(trained, features, COST, limits, [1.0, 2.0, 3.0, 5.0])
    assert len(table) == len(configurations(limits))
    assert table["milliseconds"].between(1, 5).all()
    unit = deployment.configuration_times(trained, features, COST, limits, [7.0] * 4)
    assert unit["milliseconds"].tolist() == pytest.approx([7.0] * len(unit))
    dear = deployment.configuration_times(trained, features, COST, limits, [0.0, 0.0, 0.0, 1.0])
    said = {name: confidence_and_class(logits) for name, logits in trained.logits.items()}
    margins = configurations(limits)[5]
    chosen, thresholds = calibrated(trained, BTS_EE, margins, said, features, limits)
    exits = simulate(*chosen["valid"], features["valid"].predicted, thresholds).exit
    assert dear["milliseconds"].iloc[5] == pytest.approx(float((exits == 3).double().mean()))


def test_a_budget_picks_the_smallest_drop_on_valid_and_never_looks_at_test():
    table = pd.DataFrame(
        {"milliseconds": [1.0, 2.0, 3.0, 2.0], "valid_drop": [3.0, 1.0, 0.1, 2.0], "drop": [0.0, 9.0, 9.0, 0.0]}
    )
    assert deployment.within_budget(table, 2.5).name == 1
    assert deployment.within_budget(table, 3.0).name == 2
    assert deployment.within_budget(table, 0.5) is None


def test_operators_are_counted_once_each_and_by_segment():
    events = [
        {"cat": "Node", "name": "stage_1/conv_kernel_time"},
        {"cat": "Node", "name": "stage_1/conv_kernel_time"},
        {"cat": "Node", "name": "stage_1/relu_kernel_time"},
        {"cat": "Session", "name": "stage_2/x"},
    ]
    assert deployment.executed_nodes(events, ["stage_1", "stage_2"]) == {"stage_1": 2, "stage_2": 0}


def test_images_are_spread_from_the_surest_to_the_least_sure():
    exits = torch.tensor([0, 2, 0, 0, 0, 0])
    sure = torch.tensor([0.1, 0.5, 0.9, 0.3, 0.7, 0.5])
    first, none, last = deployment.easiest_to_hardest(exits, sure, 3)
    assert first.tolist() == [2, 5, 0]
    assert none.tolist() == []
    assert last.tolist() == [1]


def test_batches_are_joined_in_order(cascade, description, splits):
    run = eager(cascade, description)
    images = splits.test.images[:70]
    whole = run(images.numpy())
    parts = deployment.in_batches(lambda part: run(part.numpy()), images, 16)
    for found, expected in zip(parts[:2], whole[:2], strict=True):
        assert torch.equal(found, expected)
