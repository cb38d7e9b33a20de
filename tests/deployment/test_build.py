import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from btsee_lib import boosting
from btsee_lib.calibration import confidence_and_class
from btsee_lib.cascade import simulate
from btsee_lib.deployment import build
from btsee_lib.deployment.timed_models import Model
from btsee_lib.evaluation import Calibrator
from btsee_lib.experiment import repository_root
from btsee_lib.schemes import SCHEMES
from btsee_lib.trees import tree_of


@pytest.fixture(scope="module")
def tree(trees):
    """The boosted one."""
    return trees[1]


@pytest.fixture(scope="module")
def margins(boosting_parameters):
    first, second, third = boosting_parameters.margins
    return (first[1], second[-1], third[-2])


@pytest.fixture(scope="module")
def place(backbone, features, branch_parameters, terms, splits):
    """All that a tree of branches is built into a cascade with."""
    return backbone, features, branch_parameters, terms, splits.test.images.shape[1:]


@pytest.fixture(scope="module")
def built(tree, margins, place):
    return build.build_cascade(tree, margins, *place)


def test_the_built_cascade_runs_as_the_evaluation_simulated_it(built, tree, margins, features, terms, splits):
    outputs, thresholds = Calibrator(tree, features, terms).calibrated(margins)
    sure, label = confidence_and_class(features["test"].logits)
    expected = simulate(*outputs["test"], label, thresholds, sure)
    found = build.in_batches(lambda part: built.predict(splits.normalise(part)), splits.test.images, 300)
    told = build.agreement(expected, found, *outputs["test"], built.thresholds)
    assert told["unexplained"] == 0
    assert told["near_threshold"] <= 3
    assert told["largest_difference"] < 1e-4
    assert len(set(found.exit.tolist())) == 4


def test_a_branch_that_was_closed_in_training_is_closed_in_the_cascade(tree, margins, place, splits):
    position = tree.rows(margins)[1]
    nodes = tree.nodes.copy()
    nodes.loc[position, "closed"] = True
    states = [{} if number == position else state for number, state in enumerate(tree.states)]
    shut = dataclasses.replace(tree, nodes=nodes, states=states)
    found = build.build_cascade(shut, margins, *place)
    assert found.closed[1]
    assert 1 not in found.predict(splits.normalise(splits.test.images[:100])).exit


@pytest.mark.parametrize("name", ["additive", "zero time waste", "learnt confidence"])
def test_exits_that_answer_by_more_than_their_branch_are_refused(tree, margins, place, name):
    with pytest.raises(ValueError, match=f"scheme '{name}' answer by more than their own branch"):
        build.build_cascade(dataclasses.replace(tree, scheme=name), margins, *place)


def test_branches_that_learnt_from_the_backbone_answer_as_all_others_do(tree, margins, place, built, splits):
    distilled = dataclasses.replace(tree, scheme="distilled, boosted")
    images = splits.normalise(splits.test.images[:50])
    found = build.build_cascade(distilled, margins, *place).predict(images)
    assert torch.equal(found.label, built.predict(images).label)


def test_only_where_two_ways_part_a_threshold_explains_it():
    """The first images part at branch 1, as far from its threshold as given; the last two in no way."""
    away = torch.tensor([1e-6, 1e-4, 0.2, 0.2, 0.2])
    confidence = torch.stack([0.5 + away, torch.tensor([0.9, 0.9, 0.5, 0.9, 0.9])])
    predicted, thresholds = torch.zeros(2, 5, dtype=torch.int64), torch.full((2, 1), 0.5)
    expected = (torch.zeros(5, dtype=torch.int64), torch.tensor([0, 0, 0, 0, 2]), torch.full((5,), 0.9))
    found = (np.array([0, 0, 0, 1, 0]), np.array([1, 1, 1, 0, 2]), np.array([0.5, 0.5, 0.5, 0.8, 0.9]))
    told = build.agreement(expected, found, confidence, predicted, thresholds)
    assert told.pop("largest_difference") == pytest.approx(0.1)
    assert told == {"images": 5, "other_label": 1, "other_exit": 3, "near_threshold": 1, "unexplained": 3}


def test_the_recorded_ways_to_run_the_cascade_agree_on_all_images():
    oracle = pd.read_csv(repository_root() / "reports" / "tables" / "oracle.csv")
    assert len(oracle) == 4
    assert (oracle["images"] == 10_000).all()
    assert (oracle["unexplained"] == 0).all()
    assert (oracle["largest_difference"] < 1e-4).all()


def configurations_table():
    """A stricter and a looser configuration of the proposal, and a better one of the baseline."""
    rows = [
        ("boosted", "survivors", -0.02, 0.0, 0.0, 0.4, 0.6),
        ("boosted", "survivors", 0.0, 0.0, 0.0, 1.5, 0.7),
        ("independent", "full", 0.0, -0.02, 0.0, 0.1, 0.9),
    ]
    columns = ["training", "calibration", "m1", "m2", "m3", "valid_drop", "valid_reduction"]
    return pd.DataFrame(rows, columns=columns)


def test_recommended_margins_are_those_of_the_proposal_that_save_most(boosting_parameters):
    found = build.recommended_margins(configurations_table(), [0.5, 1.0, 2.0], boosting_parameters)
    assert found == {0.5: (-0.02, 0.0, 0.0), 1.0: (-0.02, 0.0, 0.0), 2.0: (0.0, 0.0, 0.0)}
    assert build.name_of(1.0, found) == "drop <= 0.5 and 1"
    assert build.name_of(2.0, found) == "drop <= 2"


def test_without_a_recommendation_the_strictest_margins_are_taken(boosting_parameters):
    found = build.recommended_margins(configurations_table(), [0.1], boosting_parameters)
    assert found == {0.1: tuple(min(each) for each in boosting_parameters.margins)}


def test_the_gain_over_a_static_network_is_paired_and_of_the_mean_over_seeds():
    cascades, static = np.ones((3, 1000), bool), np.ones(1000, bool)
    static[:20] = False
    gain, low, high = build.against_static(cascades, static)
    assert gain == pytest.approx(2.0)
    assert 1 < low < 2 < high < 3
    cascades[0, 500:530] = False
    assert build.against_static(cascades, static)[0] == pytest.approx(1.0)
    assert build.against_static(static[None], static) == (0, 0, 0)


def test_images_are_spread_from_the_surest_to_the_least_sure():
    exits = torch.tensor([0, 2, 0, 0, 0, 0])
    sure = torch.tensor([0.1, 0.5, 0.9, 0.3, 0.7, 0.5])
    first, none, last = build.easiest_to_hardest(exits, sure, 3)
    assert first.tolist() == [2, 5, 0]
    assert none.tolist() == []
    assert last.tolist() == [1]


def test_batches_are_joined_in_order(cascade, description, splits):
    model, images = Model(cascade, description), splits.test.images[:70]
    whole = model.predict(images.numpy())
    parts = build.in_batches(lambda part: model.predict(part.numpy()), images, 16)
    for found, expected in zip(parts[:2], whole[:2], strict=True):
        assert torch.equal(found, expected)


def test_a_scheme_whose_exits_add_up_answers_is_not_built(
    features, branch_parameters, boosting_parameters, backbone, terms, splits
):
    """Its branches alone would answer something else than was evaluated."""
    arguments = (features, branch_parameters, boosting_parameters, 0)
    trained = boosting.train_tree(SCHEMES["additive"], *arguments, chosen=[(-0.1, -0.1, -0.1)])
    tree = tree_of("additive", 0, list(trained))
    shape = splits.test.images.shape[1:]
    with pytest.raises(ValueError, match="scheme 'additive'"):
        build.build_cascade(tree, (-0.1, -0.1, -0.1), backbone, features, branch_parameters, terms, shape)
