from types import SimpleNamespace

import pytest
import torch
from made_up import CLASSES

from btsee_lib.calibration import SURVIVORS
from btsee_lib.config import BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.data.splits import ImageSet
from btsee_lib.evaluation import evaluate_configurations
from btsee_lib.studies import freezing

EVALUATION = SimpleNamespace(resamples=80, seed=0, confidence=0.9)
COST = CostModel(stages=(10, 10, 10, 10), branches=(1, 1, 1))


@pytest.fixture(scope="module")
def made_up_splits(made_up_trees):
    features, _ = made_up_trees
    return SimpleNamespace(
        train=range(400),
        **{name: ImageSet(None, features[name].labels) for name in ("valid", "test")},
    )


@pytest.fixture(scope="module")
def decided(made_up_trees):
    """Evaluate trees on features, at two margins for each branch."""
    parameters = BoostingParameters(
        seeds=[0, 1], margins=[[0.0, 0.3]] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20
    )
    return lambda trees, features: evaluate_configurations(
        trees, features, COST, parameters, calibrations=[SURVIVORS]
    )


def logits_of(tree, features, more=0.0):
    """The exits of the branches of a tree and of the backbone, surer of the truth by ``more``."""
    return {
        name: torch.cat([tree.logits[name], features[name].logits[None]])
        + more * torch.nn.functional.one_hot(features[name].labels, CLASSES)
        for name in ("valid", "test")
    }


def test_a_network_of_the_same_answers_is_the_same_cascade(made_up_trees, made_up_splits, decided):
    features, trees = made_up_trees
    tree, own = freezing.as_cascade(logits_of(trees[0], features), made_up_splits, seed=0)
    frozen, jointly = decided(trees[:1], features), decided([tree], own)
    names = ["drop", "reduction", "valid_drop", "valid_reduction"]
    assert (frozen.table[names] == jointly.table[names]).all(axis=None)
    curves, gains = freezing.fronts_beside(frozen, jointly, EVALUATION)
    assert set(curves["training"]) == {"independent", "joint"}
    assert gains[["gain", "low", "high"]].abs().max(axis=None) == pytest.approx(0, abs=1e-4)


def test_what_a_joint_network_gains_is_told_from_the_frozen_backbone(made_up_trees, made_up_splits, decided):
    features, trees = made_up_trees
    more = torch.tensor([0.3, 0.3, 0.3, 2.0])[:, None, None]  # surest at the last exit
    tree, own = freezing.as_cascade(logits_of(trees[0], features, more), made_up_splits, seed=0)
    frozen, jointly = decided(trees, features), decided([tree], own)
    curves, gains = freezing.fronts_beside(frozen, jointly, EVALUATION)
    assert gains.iloc[-1]["low"] > 0
    joint = curves[curves["training"] == "joint"]
    expected = 100 * (frozen.backbone_correct.mean() - joint["accuracy"])
    assert joint["drop"].tolist() == pytest.approx(expected.tolist())


def test_every_exit_is_compared_on_the_same_images(made_up_trees):
    features, trees = made_up_trees
    labels = features["test"].labels
    frozen = [logits_of(tree, features)["test"] for tree in trees]
    joint = frozen[0].clone()
    joint[1] = torch.nn.functional.one_hot(labels, CLASSES)  # the second exit is always right
    found = freezing.exits_beside(frozen, joint, labels, EVALUATION)
    accuracy = torch.stack([(each.argmax(-1) == labels).double().mean(1) for each in frozen]).mean(0)
    assert found["exit"].tolist() == [1, 2, 3, 4]
    assert found["frozen"].tolist() == pytest.approx(accuracy.tolist())
    assert found.loc[1, "joint"] == 1.0
    assert found["gain"].tolist() == pytest.approx((100 * (found["joint"] - found["frozen"])).tolist())
    assert found.loc[1, "low"] > 0
    assert found.loc[3, ["gain", "low", "high"]].tolist() == [0, 0, 0]
