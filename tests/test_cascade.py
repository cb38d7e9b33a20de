import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from btsee_lib.calibration import confidence_and_class
from btsee_lib.cascade import Cascade, simulate
from btsee_lib.data import load_splits
from btsee_lib.deployment.build import agreement, in_batches
from btsee_lib.deployment.onnx_export import SINGLE
from btsee_lib.deployment.onnx_runner import OnnxCascade, OnnxStages
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.features import walk_stages

NUMBER = 2000  # test images on which all ways to run a cascade are compared; notebook 06 does it on all


@pytest.fixture(scope="module")
def images(splits):
    return splits.normalise(splits.test.images[:300])


@pytest.fixture(scope="module")
def expected(cascade_case):
    """The simulated exits of the first 300 test images."""
    exits = simulate(**cascade_case)
    return type(exits)(*(values[:300] for values in exits))


@pytest.fixture
def calls(backbone, branches):
    """The number of samples that each stage and each branch has been called with."""
    counted = {}
    modules = {f"stage {number}": stage for number, stage in enumerate(backbone.stages, start=1)}
    modules |= {f"branch {number}": branch for number, branch in enumerate(branches, start=1)}

    def counter(name):
        def count(_, inputs):
            counted[name] = counted.get(name, 0) + len(inputs[0])

        return count

    hooks = [module.register_forward_pre_hook(counter(name)) for name, module in modules.items()]
    yield counted
    for hook in hooks:
        hook.remove()


def assert_same(found, expected):
    assert torch.equal(found.label, expected.label)
    assert torch.equal(found.exit, expected.exit)
    torch.testing.assert_close(found.confidence, expected.confidence, atol=1e-5, rtol=0)


def test_simulation_takes_the_first_branch_that_is_sure_by_hand():
    confidence = torch.tensor([[0.9, 0.5, 0.5, 0.9], [0.9, 0.9, 0.5, 0.9]])
    predicted = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]])
    thresholds = torch.tensor([[0.8, torch.inf], [torch.inf, 0.7]])
    exits = simulate(confidence, predicted, torch.tensor([2, 2, 2, 2]), thresholds)
    assert exits.label.tolist() == [0, 1, 2, 1]
    assert exits.exit.tolist() == [0, 1, 2, 1]
    assert exits.confidence[[0, 1, 3]].tolist() == pytest.approx([0.9] * 3)
    assert exits.confidence[2].isnan()


def test_simulation_changes_none_of_its_inputs(cascade_case):
    before = {name: values.clone() for name, values in cascade_case.items()}
    simulate(**cascade_case)
    assert all(torch.equal(cascade_case[name], values) for name, values in before.items())


def test_every_exit_is_taken_by_some_real_image(expected):
    assert expected.exit.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("batch_size", [1, 7, 128, 300])
def test_the_running_cascade_exits_as_simulated(cascade, images, expected, batch_size):
    batches = [cascade.predict(batch) for batch in images.split(batch_size)]
    assert_same(type(expected)(*map(torch.cat, zip(*batches, strict=True))), expected)


def test_results_stand_in_the_order_of_the_images(cascade, images, expected):
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert_same(cascade.predict(images[order]), type(expected)(*(values[order] for values in expected)))


def test_the_empty_batch_gives_empty_results(cascade, images, calls):
    exits = cascade.predict(images[:0])
    assert [values.shape for values in exits] == [(0,)] * 3
    assert exits.label.dtype == exits.exit.dtype == torch.int64
    assert calls == {}


def test_each_stage_runs_only_for_the_samples_that_reach_it(cascade, images, expected, calls):
    cascade.predict(images)
    reach = [int((expected.exit >= number).sum()) for number in range(4)]
    stages = {f"stage {number}": reached for number, reached in enumerate(reach, start=1)}
    branches = {f"branch {number}": reached for number, reached in enumerate(reach[:3], start=1)}
    assert calls == stages | branches


def test_later_stages_never_run_once_all_have_left(backbone, branches, images, calls):
    thresholds = torch.full((3, 10), torch.inf)
    thresholds[1] = 0.0
    exits = Cascade(backbone, branches, thresholds).predict(images)
    assert exits.exit.tolist() == [1] * len(images)
    assert calls == {"stage 1": 300, "stage 2": 300, "branch 2": 300}


def test_all_closed_gives_the_predictions_of_the_backbone_and_runs_no_branch(
    backbone, branches, images, features, calls
):
    exits = Cascade(backbone, branches, torch.full((3, 10), torch.inf)).predict(images)
    assert torch.equal(exits.label, features["test"].predicted[:300])
    assert exits.exit.tolist() == [3] * len(images)
    assert calls == {f"stage {number}": 300 for number in range(1, 5)}


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_closed_branch_is_not_run_and_the_rest_exits_as_simulated(
    backbone, branches, images, cascade_case, calls, row
):
    thresholds = cascade_case["thresholds"].clone()
    thresholds[row] = torch.inf
    simulated = simulate(**cascade_case | {"thresholds": thresholds})
    assert_same(
        Cascade(backbone, branches, thresholds).predict(images),
        type(simulated)(*(values[:300] for values in simulated)),
    )
    assert f"branch {row + 1}" not in calls
    assert len(calls) == 6


@pytest.mark.parametrize(("name", "knob"), [("confidence", 0.8), ("entropy", -0.5)])
def test_under_another_exit_rule_a_cascade_exits_as_simulated(
    backbone, branches, images, features, independent, name, knob
):
    rule, test = EXIT_RULES[name], features["test"]
    thresholds = torch.full((3, 10), knob)
    confidence, predicted = rule.outputs(torch.stack([each.logits["test"] for each in independent]))
    expected = simulate(confidence, predicted, test.predicted, thresholds, rule.confidence(test.logits))
    found = Cascade(backbone, branches, thresholds, rule=rule).predict(images)
    assert_same(found, type(expected)(*(values[:300] for values in expected)))
    assert found.exit.unique().tolist() == [0, 1, 2, 3]


def test_a_cascade_keeps_its_own_thresholds(backbone, branches, images, cascade_case, expected):
    thresholds = cascade_case["thresholds"].clone()
    cascade = Cascade(backbone, branches, thresholds)
    thresholds.zero_()
    assert_same(cascade.predict(images), expected)


def test_minus_infinity_lets_everything_leave(backbone, branches, images, cascade_case, calls):
    thresholds = torch.full((3, 10), torch.inf)
    thresholds[1] = -torch.inf
    simulated = simulate(**cascade_case | {"thresholds": thresholds})
    exits = Cascade(backbone, branches, thresholds).predict(images)
    assert exits.exit.tolist() == simulated.exit[:300].tolist() == [1] * 300
    assert calls == {"stage 1": 300, "stage 2": 300, "branch 2": 300}


def test_thresholds_that_are_loaded_close_and_open_branches(backbone, branches, images, cascade_case, calls):
    thresholds = cascade_case["thresholds"].clone()
    thresholds[1] = torch.inf
    loaded = Cascade(backbone, branches, torch.full((3, 10), torch.inf))
    loaded.load_state_dict(Cascade(backbone, branches, thresholds).state_dict())
    assert loaded.closed == [False, True, False]
    loaded.predict(images)
    assert "branch 1" in calls
    assert "branch 2" not in calls


def test_thresholds_that_are_set_later_close_and_open_branches(
    backbone, branches, images, cascade_case, expected
):
    changed = Cascade(backbone, branches, torch.full((3, 10), torch.inf))
    changed.thresholds = cascade_case["thresholds"].clone()
    assert_same(changed.predict(images), expected)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 9), torch.zeros(3, 12), torch.zeros(2, 10), None, torch.zeros(3, 10).to_sparse()]
)
def test_thresholds_that_are_set_later_and_do_not_fit_are_refused(
    backbone, branches, cascade_case, images, wrong
):
    changed = Cascade(backbone, branches, cascade_case["thresholds"])
    changed.thresholds = wrong
    with pytest.raises(ValueError, match=r"^thresholds are .*: expected \(3, 10\)$"):
        changed.predict(images)


@pytest.mark.parametrize("part", ["", "backbone", "branches.1"])
def test_training_mode_is_refused_since_it_answers_otherwise(backbone, branches, cascade_case, images, part):
    cascade = Cascade(copy.deepcopy(backbone), copy.deepcopy(branches), cascade_case["thresholds"])
    cascade.get_submodule(part).train()
    with pytest.raises(ValueError, match="in training mode, and would answer otherwise: call eval"):
        cascade.predict(images)


def test_nan_of_a_branch_that_a_later_exit_would_overwrite_is_refused(backbone, branches, cascade_case, images):
    damaged = copy.deepcopy(branches)
    next(damaged[0].parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="the answers are no numbers, the weights are damaged"):
        Cascade(backbone, damaged, cascade_case["thresholds"]).predict(images)
    unsure = cascade_case["confidence"].clone()
    unsure[1, 7] = torch.nan
    with pytest.raises(ValueError, match="confidences hold nan: the branches are damaged"):
        simulate(**cascade_case | {"confidence": unsure})


def test_a_cascade_is_in_evaluation_mode_from_the_start(backbone, branches, cascade_case, images, expected):
    backbone.train()
    cascade = Cascade(backbone, branches, cascade_case["thresholds"])
    assert not any(module.training for module in cascade.modules())
    assert_same(cascade.predict(images), expected)


def test_nan_thresholds_are_refused(backbone, branches, cascade_case):
    thresholds = cascade_case["thresholds"].clone()
    thresholds[2, 4] = torch.nan
    with pytest.raises(ValueError, match="thresholds hold nan: use inf"):
        Cascade(backbone, branches, thresholds)
    with pytest.raises(ValueError, match="thresholds hold nan: use inf"):
        simulate(**cascade_case | {"thresholds": thresholds})


@pytest.mark.parametrize("shape", [(10,), (2, 10), (4, 10), (1, 3, 10)])
def test_thresholds_of_a_wrong_shape_are_refused(backbone, branches, cascade_case, shape):
    with pytest.raises(ValueError, match=r"thresholds are .*: expected"):
        Cascade(backbone, branches, torch.zeros(shape))
    with pytest.raises(ValueError, match=r"thresholds are .*: expected"):
        simulate(**cascade_case | {"thresholds": torch.zeros(shape)})


def test_a_number_of_branches_that_does_not_fit_the_stages_is_refused(backbone, branches):
    with pytest.raises(ValueError, match="branches"):
        Cascade(backbone, branches[:2], torch.zeros(2, 10))


def test_thresholds_of_another_number_of_classes_are_refused(backbone, branches, cascade_case):
    with pytest.raises(ValueError, match=r"thresholds are \(3, 9\): expected \(3, 10\)"):
        Cascade(backbone, branches, torch.zeros(3, 9))
    with pytest.raises(ValueError, match=r"class 9 is predicted, but thresholds are of 9 classes"):
        simulate(**cascade_case | {"thresholds": torch.zeros(3, 9)})


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 1, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 3, 28, 28),
        torch.zeros(2, 1, 32, 32),
        torch.zeros(2, 1, 28, 28, dtype=torch.float64),
        torch.zeros(1, 28, 28),
    ],
)
def test_images_of_another_type_or_shape_are_refused(cascade, wrong):
    with pytest.raises(ValueError, match=r"images are .*: expected normalised float32 \(N, 1, 28, 28\)"):
        cascade.predict(wrong)


def test_without_a_given_shape_only_what_no_network_takes_is_refused(backbone, branches, cascade_case):
    loose = Cascade(backbone, branches, cascade_case["thresholds"])
    with pytest.raises(ValueError, match=r"expected normalised float32 \(N, C, H, W\)"):
        loose.predict(torch.zeros(1, 28, 28))


class Waits(TorchDispatchMode):
    """Counts the operations at which a GPU's host would have to wait for a result."""

    SYNCHRONISING = ("nonzero", "_local_scalar_dense", "masked_select", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        name = operation.overloadpacket.__name__
        masks = [each for each in torch.utils._pytree.tree_leaves(arguments) if isinstance(each, torch.Tensor)]
        by_mask = name.startswith("index") and any(each.dtype == torch.bool for each in masks)
        self.number += name in self.SYNCHRONISING or by_mask
        return operation(*arguments, **named or {})


def test_the_host_waits_at_most_once_a_branch_and_for_the_checks_of_a_call(cascade, images):
    checks = 2  # what comes in, what goes out: once a call, whatever its size
    with Waits() as waits:
        cascade.predict(images)
    assert 1 <= waits.number <= 3 + checks


def test_all_ways_to_run_a_cascade_agree_on_images_that_nothing_was_chosen_on(
    backbone, branches, description, cascade_case, exported, repository
):
    """Stored confidences, one by one, in batches, and both ONNX forms."""
    everything = load_splits("fashion-mnist", repository / "data", limit=2 * NUMBER).test.images[-NUMBER:]
    cascade = Cascade(backbone, branches, cascade_case["thresholds"])
    grids, logits = walked(backbone, description, everything)
    outputs = confidence_and_class(torch.stack([b(s) for b, s in zip(branches, grids, strict=True)]))
    sure, label = confidence_and_class(logits)
    expected = simulate(*outputs, label, cascade.thresholds, sure)
    single, stages = OnnxCascade(exported / SINGLE), OnnxStages(exported)
    ways = {
        "one by one": (lambda part: cascade.predict(description.normalise(part)), 1),
        "in batches": (lambda part: cascade.predict(description.normalise(part)), 256),
        "ONNX, single model": (lambda part: single.predict(part.numpy()), 256),
        "ONNX, stages": (lambda part: stages.predict(part.numpy()), 256),
    }
    for name, (predict, size) in ways.items():
        found = in_batches(predict, everything, size)
        told = agreement(expected, found, *outputs, cascade.thresholds)
        assert len(found.label) == NUMBER
        assert told["unexplained"] == 0, (name, told)
        assert told["near_threshold"] <= 3
        assert told["largest_difference"] < 1e-4


@torch.inference_mode()
def walked(backbone, description, images):
    parts = [walk_stages(backbone, description.normalise(part)) for part in images.split(500)]
    grids = [torch.cat(each) for each in zip(*(part[0] for part in parts), strict=True)]
    return grids, torch.cat([part[1] for part in parts])
