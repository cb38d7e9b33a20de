"""One thing of each kind is added to its table in about ten lines, and goes the whole way."""

import itertools
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from small_networks import four_layers, halving
from torch import nn

from btsee_lib import boosting, fitting
from btsee_lib.backbone import BACKBONES
from btsee_lib.calibration import CPM, ExitRule
from btsee_lib.cascade import Cascade, Exits, simulate
from btsee_lib.cost import CostModel
from btsee_lib.data import load_splits
from btsee_lib.data.sets import DATA_SETS
from btsee_lib.data.splits import ImageSet, Splits, channel_statistics
from btsee_lib.deployment.build import agreement, build_cascade, in_batches
from btsee_lib.deployment.cascade_file import load_cascade, save_cascade
from btsee_lib.deployment.onnx_export import SINGLE, export
from btsee_lib.deployment.onnx_runner import OnnxCascade, OnnxStages
from btsee_lib.evaluation import (
    Calibrator,
    cells_of,
    evaluate_configurations,
    fronts,
    mean_over_seeds,
    recommend,
)
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.features import load_features, store_features
from btsee_lib.schemes import SCHEMES, Scheme
from btsee_lib.studies.rule_sweep import sweep_rules
from btsee_lib.training import new_trained_backbone
from btsee_lib.trees import BranchTree, tree_of

MARGINS = [-0.1, 0.0]


class Way(NamedTuple):
    """What came of the whole way: the tree, the configurations, the cascade that is recommended, its exits."""

    tree: BranchTree
    table: pd.DataFrame
    margins: tuple[float, ...]
    cascade: Cascade
    exits: Exits


@pytest.fixture
def go(splits, backbone, features, branch_parameters, boosting_parameters):
    """Train branches, calibrate and evaluate all configurations, pick one, build its cascade and run it.

    The cascade that really stops must exit as simulated on the stored features.
    """

    def the_whole_way(
        scheme="boosted", rule=CPM, knobs=MARGINS, splits=splits, backbone=backbone, features=features
    ):
        number, shape = len(features["train"].squeezed), splits.test.images.shape[1:]
        parameters = boosting_parameters.model_copy(update={"margins": [knobs] * number})
        widths = branch_parameters.model_copy(update={"channels": [8] * number})
        branches = [fitting.initial_branch(b, features, widths, 0) for b in range(1, number + 1)]
        cost = CostModel.measure(backbone, branches, shape)

        arguments = (features, widths, parameters, 0)
        tree = tree_of(scheme, 0, list(boosting.train_tree(SCHEMES[scheme], *arguments, rule)))
        decisions = evaluate_configurations([tree], features, cost, parameters, rule)
        assert len(decisions.table) == 2 * len(knobs) ** number
        averaged = mean_over_seeds(decisions.table)
        assert cells_of(averaged) == list(itertools.product([scheme], ("full", "survivors")))
        assert cells_of(fronts(averaged)) == cells_of(averaged)
        best = recommend(averaged, [100.0]).query("calibration == 'survivors'").iloc[0]
        margins = tuple(best[[f"m{b}" for b in range(1, number + 1)]])
        assert best["reduction"] > 0

        terms = boosting.calibration_terms(features, parameters)
        cascade = build_cascade(tree, margins, backbone, features, widths, terms, shape, rule)
        outputs, thresholds = Calibrator(tree, features, terms, rule).calibrated(margins)
        sure, label = rule.outputs(features["test"].logits)
        expected = simulate(*outputs["test"], label, thresholds, sure)
        exits = in_batches(lambda part: cascade.predict(splits.normalise(part)), splits.test.images, 100)
        told = agreement(expected, exits, *outputs["test"], thresholds)
        assert told["images"] == len(splits.test)
        assert told["unexplained"] == 0
        assert told["near_threshold"] <= 3
        assert told["largest_difference"] < 1e-4
        accuracy = float((exits.label == splits.test.labels).double().mean())
        assert accuracy == pytest.approx(best["accuracy"], abs=0.005)
        return Way(tree, decisions.table, margins, cascade, exits)

    return the_whole_way


def assert_runs_elsewhere(way, description, images, folder):
    """Saved and loaded again, and in both forms of ONNX, a cascade gives the same answers."""
    save_cascade(folder / "cascade.pt", way.cascade, description)
    loaded, told = load_cascade(folder / "cascade.pt")
    assert told == description
    export(way.cascade, description, folder)
    single, stages = OnnxCascade(folder / SINGLE), OnnxStages(folder)
    ways = {
        "loaded": lambda part: loaded.predict(description.normalise(part)),
        "ONNX, single model": lambda part: single.predict(part.numpy()),
        "ONNX, stages": lambda part: stages.predict(part.numpy()),
    }
    for name, predict in ways.items():
        found = in_batches(predict, images, 100)
        assert torch.equal(found.label, way.exits.label[: len(images)]), name
        assert torch.equal(found.exit, way.exits.exit[: len(images)]), name
        torch.testing.assert_close(found.confidence, way.exits.confidence[: len(images)], atol=1e-4, rtol=0)


def test_a_scheme_that_weighs_samples_at_random_goes_the_whole_way(monkeypatch, go, independent):
    class AtRandom(Scheme):
        """Every sample weighs something else, and always the same."""

        def weights(self, known):
            generator = torch.Generator().manual_seed(0)
            return torch.rand(len(known.survivors), generator=generator)

    monkeypatch.setitem(SCHEMES, "at random", AtRandom())
    way = go(scheme="at random")
    assert len(way.tree.nodes) == 3
    for state, other in zip(way.tree.states, independent, strict=True):
        assert not torch.equal(state["classifier.weight"], other.state["classifier.weight"])


@pytest.fixture(scope="module")
def quick_backbone(splits, backbone_parameters, feature_parameters, tmp_path_factory):
    """A backbone of four stages that is quick to export, and its features."""
    changes = {"name": "four layers", "epochs": 8, "reduced_epochs": 0, "learning_rate": 0.02}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "four layers", four_layers)
        backbone, _ = new_trained_backbone(splits, backbone_parameters.model_copy(update=changes))
        folder = tmp_path_factory.mktemp("quick")
        store_features(backbone, splits, folder, feature_parameters)
        yield {"backbone": backbone, "features": load_features(folder)}


def test_an_exit_rule_on_the_ratio_of_two_probabilities_goes_the_whole_way(
    monkeypatch,
    go,
    tmp_path,
    description,
    splits,
    quick_backbone,
    backbone,
    branches,
    features,
    trees,
    boosting_parameters,
):
    class Ratio(ExitRule):
        """A branch is the surer the smaller the second probability is beside the largest."""

        knobs = (0.95, 0.8, 0.6, 0.4)

        def confidence(self, logits):
            first, second = logits.softmax(-1).topk(2).values.unbind(-1)
            return 1 - second / first

    monkeypatch.setitem(EXIT_RULES, "ratio", Ratio())
    way = go(rule=EXIT_RULES["ratio"], knobs=[0.9, 0.5], **quick_backbone)
    assert way.exits.exit.unique().tolist() == [0, 1, 2, 3]
    changes = {"backbone": "four layers", "rule": "ratio", "margins": way.margins}
    assert_runs_elsewhere(way, description.model_copy(update=changes), splits.test.images[:300], tmp_path)
    cost = CostModel.measure(backbone, branches, splits.test.images.shape[1:])
    swept = sweep_rules(trees[:1], features, cost, boosting_parameters).table
    shares = swept.loc[swept["rule"] == "ratio", "exit1"]
    assert len(shares) == 4
    assert shares.is_monotonic_increasing


@pytest.mark.parametrize("name", ["difference of two", "entropy"])
def test_a_rule_on_the_whole_answer_runs_elsewhere_too(name, go, tmp_path, description, splits, quick_backbone):
    rule = EXIT_RULES[name]
    knobs = [rule.knobs[len(rule.knobs) // 2], rule.knobs[3 * len(rule.knobs) // 4]]
    way = go(rule=rule, knobs=knobs, **quick_backbone)
    assert len(way.exits.exit.unique()) > 1
    changes = {"backbone": "four layers", "rule": name, "margins": way.margins}
    assert_runs_elsewhere(way, description.model_copy(update=changes), splits.test.images[:300], tmp_path)


def test_a_data_set_of_noise_goes_the_whole_way(
    monkeypatch, go, tmp_path, backbone_parameters, feature_parameters
):
    def noise(folder, seed):
        """Nothing but noise, of three classes."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for number in (400, 300, 300):
            images = torch.randint(256, (number, 2, 16, 16), dtype=torch.uint8, generator=generator)
            parts.append(ImageSet(images, torch.randint(3, (number,), generator=generator)))
        mean, std = channel_statistics(parts[0].images)
        return Splits(*parts, classes=("a", "b", "c"), mean=mean, std=std, source=folder.name)

    monkeypatch.setitem(DATA_SETS, "noise", noise)
    splits = load_splits("noise", tmp_path, limit=350)
    assert (len(splits.train), len(splits.test)) == (350, 300)
    parameters = backbone_parameters.model_copy(update={"epochs": 2, "reduced_epochs": 0})
    backbone, _ = new_trained_backbone(splits, parameters)
    store_features(backbone, splits, tmp_path, feature_parameters)
    features = load_features(tmp_path)
    way = go(splits=splits, backbone=backbone, features=features)
    assert way.cascade.thresholds.shape == (3, 3)
    assert len(way.exits.exit.unique()) > 1


def test_a_backbone_of_three_stages_goes_the_whole_way(
    monkeypatch, go, tmp_path, splits, backbone_parameters, description, feature_parameters
):
    def three_stages(num_classes, in_channels, width, stem):
        """A small network, and so two branches."""
        network = nn.Sequential(
            halving(in_channels, width),
            halving(width, 2 * width),
            nn.Sequential(nn.Flatten(), nn.Linear(98 * width, num_classes)),
        )
        network.num_classes, network.stages = num_classes, list(network)
        return network

    monkeypatch.setitem(BACKBONES, "three stages", three_stages)
    parameters = backbone_parameters.model_copy(update={"name": "three stages", "epochs": 3})
    parameters = parameters.model_copy(update={"reduced_epochs": 0, "learning_rate": 0.02})
    backbone, _ = new_trained_backbone(splits, parameters)
    store_features(backbone, splits, tmp_path, feature_parameters)
    features = load_features(tmp_path)
    way = go(backbone=backbone, features=features)
    assert len(way.tree.nodes) == 1 + 2
    shares = way.table[["exit1", "exit2", "exit3"]]
    assert (shares > 0).all(axis=1).any(), "some configuration lets images out at every exit"
    changes = {"backbone": "three stages", "margins": way.margins, "branch_channels": (8, 8)}
    described = description.model_copy(update=changes)
    assert_runs_elsewhere(way, described, splits.test.images[:300], tmp_path)
