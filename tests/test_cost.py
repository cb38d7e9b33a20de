import math

import pytest
import torch
from torch import nn

from btsee_lib.backbone import StagedResNet18, new_backbone
from btsee_lib.branches import Conv1dBranch
from btsee_lib.cascade import Cascade, simulate
from btsee_lib.config import params
from btsee_lib.cost import CostModel, count_macs


def macs_by_formula(module, *inputs):
    """Each convolution and linear layer by its textbook formula, from the shapes that pass through."""
    total = 0

    def add(layer, _, output):
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features
        else:
            total += output.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)

    layers = [each for each in module.modules() if isinstance(each, nn.Conv1d | nn.Conv2d | nn.Linear)]
    hooks = [each.register_forward_hook(add) for each in layers]
    with torch.no_grad():
        module.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize(
    ("width", "stem", "shape"),
    [(8, "small", (1, 28, 28)), (16, "small", (3, 32, 32)), (64, "imagenet", (3, 224, 224))],
)
def test_macs_of_the_backbone_are_those_of_the_formulas(width, stem, shape):
    backbone = StagedResNet18(10, in_channels=shape[0], width=width, stem=stem)
    image = torch.zeros(1, *shape)
    assert count_macs(backbone, image) == macs_by_formula(backbone, image)


def test_macs_of_resnet18_are_the_published_ones():
    macs = count_macs(StagedResNet18(1000, stem="imagenet"), torch.zeros(1, 3, 224, 224))
    assert macs == pytest.approx(1.814e9, rel=1e-3)


def test_macs_of_each_branch_are_those_of_the_formulas(branches, features):
    for number, branch in enumerate(branches):
        squeezed = features["test"].squeezed[number][:1]
        assert count_macs(branch, squeezed) == macs_by_formula(branch, squeezed) > 0


def test_the_model_holds_the_macs_of_each_stage_and_branch(backbone, branches, features, splits):
    cost = CostModel.measure(backbone, branches, splits.test.images.shape[1:])
    feature_map, expected = splits.normalise(splits.test.images[:1]), []
    for stage in backbone.stages:
        expected.append(macs_by_formula(stage, feature_map))
        feature_map = stage(feature_map)
    assert cost.stages == tuple(expected)
    assert cost.backbone == macs_by_formula(backbone, splits.normalise(splits.test.images[:1]))
    squeezed = [each[:1] for each in features["test"].squeezed]
    assert cost.branches == tuple(map(macs_by_formula, branches, squeezed))


def test_counting_leaves_the_mode_of_a_module_as_it_was():
    for training in (True, False):
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train(training)
        assert count_macs(module, torch.zeros(1, 3)) == 12
        assert module.training == module[1].training == training


COST = CostModel(stages=(100, 200, 300, 400), branches=(1, 2, 3))
OPEN = torch.full((3, 2), 0.5)


def closed(*numbers):
    thresholds = OPEN.clone()
    for number in numbers:
        thresholds[number - 1] = torch.inf
    return thresholds


def test_an_exit_costs_the_stages_and_branches_before_it():
    assert COST.by_exit(OPEN).tolist() == [101, 303, 606, 1006]


def test_a_closed_branch_costs_nothing():
    assert COST.by_exit(closed(2)).tolist() == [101, 301, 604, 1004]
    assert COST.by_exit(closed(1, 2, 3)).tolist() == [100, 300, 600, 1000]


def test_a_branch_open_for_one_class_is_paid_by_all():
    thresholds = closed(1)
    thresholds[0, 1] = 0.9
    assert COST.by_exit(thresholds).tolist() == [101, 303, 606, 1006]


def test_the_reduction_is_the_mean_saving_against_the_bare_backbone():
    exits = torch.tensor([0, 0, 1, 3])
    assert COST.reduction(exits, OPEN) == pytest.approx(1 - (101 + 101 + 303 + 1006) / 4 / 1000)


def test_without_exits_the_reduction_is_minus_the_price_of_the_open_branches():
    at_the_end = torch.tensor([3, 3])
    assert COST.reduction(at_the_end, closed(1, 2, 3)) == 0
    assert COST.reduction(at_the_end, OPEN) == pytest.approx(-0.006)


def test_the_cost_of_an_exit_is_what_the_running_cascade_computes(backbone, branches, splits, cascade_case):
    thresholds = cascade_case["thresholds"].clone()
    thresholds[1] = torch.inf
    cost = CostModel.measure(backbone, branches, splits.test.images.shape[1:]).by_exit(thresholds)
    exits = simulate(**cascade_case | {"thresholds": thresholds}).exit
    cascade = Cascade(backbone, branches, thresholds)

    class Prediction(nn.Module):
        def forward(self, images):
            return cascade.predict(images)

    for taken in exits.unique().tolist():
        image = splits.normalise(splits.test.images[(exits == taken).nonzero()[0]])
        assert count_macs(Prediction(), image) == cost[taken]
    assert len(exits.unique()) == 3


def test_branches_cost_at_most_one_and_a_half_percent_of_the_backbone_each(repository, splits):
    path = repository / "params.yaml"
    parameters, branch_parameters = params("backbone", path), params("branches", path)
    backbone = new_backbone(splits, parameters)
    channels = [parameters.width, 2 * parameters.width, 4 * parameters.width]
    branches = [
        Conv1dBranch(each, 10, width, branch_parameters.kernel_size)
        for each, width in zip(channels, branch_parameters.channels, strict=True)
    ]
    cost = CostModel.measure(backbone, branches, splits.test.images.shape[1:])
    assert max(cost.branches) <= 0.015 * cost.backbone
