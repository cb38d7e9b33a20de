import pytest
import torch

from btsee_lib.cascade import Cascade, simulate


@pytest.fixture(scope="module")
def images(splits):
    return splits.normalise(splits.test.images[:300])


@pytest.fixture(scope="module")
def expected(cascade_case):
    """The simulated exits of the first 300 test images."""
    exits = simulate(**cascade_case)
    return type(exits)(*(values[:300] for values in exits))


@pytest.fixture(scope="module")
def cascade(backbone, branches, cascade_case):
    return Cascade(backbone, branches, cascade_case["thresholds"])


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
