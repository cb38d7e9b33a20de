import pytest
import torch

from btsee_lib.config import BoostingParameters
from btsee_lib.schemes import SCHEMES
from btsee_lib.studies import effort
from btsee_lib.trees import tree_of

MARGINS = [[-0.1, 0.0, 0.2], [-0.2, 0.1, 0.3], [0.0, 0.2]]
RUNGS = [(-0.1, -0.2), (0.0, 0.1), (0.2, 0.3)]


def parameters_of(margins):
    return BoostingParameters(seeds=[0], margins=margins, bar_ceiling=1.0, min_support=3, min_survivors=20)


@pytest.fixture
def parameters():
    return parameters_of(MARGINS)


def test_rungs_go_down_the_lists_together_and_take_every_last_margin(parameters):
    assert effort.rungs(parameters) == [(*rung, last) for rung in RUNGS for last in (0.0, 0.2)]
    assert effort.middle_rung(parameters) in effort.rungs(parameters)
    assert effort.middle_rung(parameters)[:2] == RUNGS[1]


def test_behind_rungs_fewer_branches_are_trained_than_behind_all_margins(parameters):
    chosen = effort.rungs(parameters)
    behind = {each[:depth] for each in chosen for depth in range(3)}
    assert len(behind) == 1 + 3 + 3 < 1 + 3 + 9


def test_rungs_reach_the_loosest_margins_of_lists_of_any_length():
    assert effort.rungs(parameters_of([[0.0, 0.1]])) == [(0.0,), (0.1,)]
    assert effort.rungs(parameters_of([[0.0], [0.1]])) == [(0.0, 0.1)]
    lists = [[0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.1], [0.0]]
    assert effort.rungs(parameters_of(lists)) == [(0.0, 0.0, 0.0), (0.2, 0.0, 0.0), (0.4, 0.1, 0.0)]


def test_after_all_visits_a_branch_is_as_accurate_as_that_of_the_tree(
    features, branch_parameters, boosting_parameters, boosted_tree
):
    middle = effort.middle_rung(boosting_parameters)
    met = [torch.arange(1000) % 3 == number for number in range(3)]
    arguments = (features, branch_parameters, boosting_parameters, met)
    tree = tree_of("boosted", 0, boosted_tree)
    table = effort.accuracy_by_effort(SCHEMES["boosted"], tree, *arguments, efforts=(0.5, 1.0))
    assert table["epochs"].tolist() == [2.0] * 3 + [4.0] * 6
    again, from_tree = table.iloc[3:6], table.iloc[6:]
    assert again["valid_accuracy"].tolist() == from_tree["valid_accuracy"].tolist(), "trained once more"
    for row in from_tree.itertuples():
        node = next(each for each in boosted_tree if each.margins == middle[: row.branch - 1])
        right = (node.logits["valid"].argmax(1) == features["valid"].labels)[met[row.branch - 1]]
        assert row.valid_accuracy == pytest.approx(float(right.double().mean()))
