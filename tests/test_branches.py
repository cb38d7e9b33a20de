import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measure_scaling import anonymous_memory
from torch.nn import functional

from btsee_lib.branches import Conv1dBranch, branch_logits, sample_batches, train_branch
from btsee_lib.errors import TrainingError


def state_of(module):
    return torch.cat([values.double().flatten() for values in module.state_dict().values()])


def untrained():
    torch.manual_seed(0)
    return Conv1dBranch(16, 10, channels=4, kernel_size=3)


@pytest.fixture
def train(features, branch_parameters):
    """Train a branch of fixed initial weights for one epoch on 200 samples."""

    def run(seed=0, weights=None, targets=features["train"].labels[:200], losses=None, **changes):
        branch, visits = untrained(), []
        hook = branch.register_forward_pre_hook(lambda _, inputs: visits.append(inputs[0]))
        parameters = branch_parameters.model_copy(update={"epochs": 1, "batch_size": 20} | changes)
        others = {} if losses is None else {"losses": losses}
        train_branch(branch, features["train"].squeezed[1][:200], targets, parameters, seed, weights, **others)
        hook.remove()
        return branch, visits

    return run


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9), st.integers(0, 5))
def test_every_sample_comes_once_before_any_comes_twice(number, steps, batch_size, seed):
    chosen = torch.arange(100, 100 + number)
    batches = sample_batches(chosen, steps, batch_size, torch.Generator().manual_seed(seed))
    assert batches.shape == (steps, batch_size)
    for part in batches.flatten().split(number):
        assert len(part.unique()) == len(part)
        assert set(part.tolist()) <= set(chosen.tolist())


def test_every_round_has_an_order_of_its_own():
    batches = sample_batches(torch.arange(50), 3, 50, torch.Generator().manual_seed(0))
    assert len({tuple(batch.tolist()) for batch in batches}) == 3


@pytest.mark.parametrize("left", [1, 7, 20, 199, 200])
def test_the_number_of_visits_is_the_same_for_any_number_of_survivors(train, left):
    survivors = torch.arange(200) < left
    _, visits = train(weights=survivors.float(), epochs=2)
    assert [len(batch) for batch in visits] == [20] * 20


def test_only_survivors_are_seen(train, features):
    survivors = torch.zeros(200, dtype=torch.bool)
    survivors[[3, 50, 120]] = True
    _, visits = train(weights=survivors.float())
    allowed = {tuple(each.flatten().tolist()) for each in features["train"].squeezed[1][:200][survivors]}
    assert {tuple(each.flatten().tolist()) for each in torch.cat(visits)} == allowed


def trained_in_a_plain_loop(squeezed, targets, chosen, parameters, seed):
    """Minimise the mean cross-entropy over batches of the chosen samples, each once before any twice."""
    branch = untrained()
    branch(squeezed[:1])  # the classifier takes its size from the first input
    steps = int(parameters.epochs * len(targets) / parameters.batch_size)
    optimizer = torch.optim.AdamW(
        branch.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, parameters.learning_rate, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    branch.train()
    for batch in sample_batches(chosen, steps, parameters.batch_size, generator):
        maps = squeezed[batch].contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(branch(maps), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return branch.eval()


@pytest.mark.parametrize("left", [None, 200, 137, 3])
def test_training_on_those_who_weigh_one_is_to_the_bit_a_plain_loop_over_them(
    features, branch_parameters, left
):
    squeezed, targets = features["train"].squeezed[1][:200], features["train"].labels[:200]
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    survivors = torch.zeros(200, dtype=torch.bool)
    survivors[order[:left]] = True
    branch = untrained()
    branch(squeezed[:1])
    weights = None if left is None else survivors.float()
    train_branch(branch, squeezed, targets, branch_parameters, 7, weights)
    chosen = survivors.nonzero().flatten()
    expected = trained_in_a_plain_loop(squeezed, targets, chosen, branch_parameters, 7).state_dict()
    assert list(branch.state_dict()) == list(expected)
    for name, values in branch.state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_only_the_ratios_of_the_weights_count(train):
    weights = torch.rand(200, generator=torch.Generator().manual_seed(0))
    weights[::3] = 0
    assert torch.equal(state_of(train(weights=weights)[0]), state_of(train(weights=8 * weights)[0]))
    assert not torch.equal(state_of(train(weights=weights)[0]), state_of(train(weights=weights**2)[0]))


def test_a_class_that_weighs_more_is_named_more_often(train, features):
    targets, maps = features["train"].labels[:200], features["valid"].squeezed[1]
    heavy, light = (train(epochs=4, weights=1 + more * (targets == 6)) for more in (20.0, 0.0))
    named = [int((branch_logits(branch, maps).argmax(1) == 6).sum()) for branch, _ in (heavy, light)]
    assert named[0] > 1.5 * named[1]


def test_where_nobody_weighs_anything_there_is_nothing_to_train_on(train):
    with pytest.raises(ValueError, match="weights of all training samples are 0: give a positive one"):
        train(weights=torch.zeros(200))


def test_what_is_minimised_can_be_chosen(train, features):
    def of_the_opposite_class(logits, targets):
        return functional.cross_entropy(logits, 9 - targets, reduction="none")

    found, _ = train(losses=of_the_opposite_class)
    expected, _ = train(targets=9 - features["train"].labels[:200])
    assert torch.equal(state_of(found), state_of(expected))
    assert not torch.equal(state_of(found), state_of(train()[0]))


def test_training_is_decided_by_the_seed(train):
    first, again, other = (state_of(train(seed)[0]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_lowers_the_loss_on_what_it_has_not_seen(train, features):
    branch, _ = train(epochs=6)
    untrained, _ = train(learning_rate=1e-9)
    valid = features["valid"]
    losses = [
        torch.nn.functional.cross_entropy(branch_logits(each, valid.squeezed[1]), valid.labels)
        for each in (branch, untrained)
    ]
    assert losses[0] < 0.8 * losses[1]


def test_logits_do_not_depend_on_the_batches(branches, features):
    maps = features["valid"].squeezed[0]
    expected = branch_logits(branches[0], maps)
    for batch_size in (1000, 77):
        torch.testing.assert_close(branch_logits(branches[0], maps, batch_size), expected, atol=1e-4, rtol=1e-4)


def test_logits_are_those_of_evaluation_mode(branches, features):
    branch, maps = branches[1], features["valid"].squeezed[1][:50]
    expected = branch(maps.contiguous(memory_format=torch.channels_last))
    branch.train()
    assert torch.equal(branch_logits(branch, maps), expected)
    assert not branch.training


def test_cells_of_a_tiny_map_by_hand():
    feature_map = torch.arange(16.0).view(1, 1, 4, 4)
    assert Conv1dBranch.squeeze(feature_map).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


def test_a_last_cell_that_reaches_over_the_edge_averages_what_there_is():
    feature_map = torch.arange(9.0).view(1, 1, 3, 3)
    assert Conv1dBranch.squeeze(feature_map).tolist() == [[[[2.0, 3.5], [6.5, 8.0]]]]


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (2, 3, 3), (3, 3)])
def test_a_map_that_is_not_square_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match="expects a map") as caught:
        Conv1dBranch.squeeze(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("side", "cells"), [(7, 4), (8, 4), (14, 7), (16, 8), (28, 7), (32, 8), (56, 8), (75, 8)]
)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_branch_reads_maps_of_any_side(side, cells, kernel_size):
    branch = Conv1dBranch(6, 5, channels=3, kernel_size=kernel_size).eval()
    squeezed = branch.squeeze(torch.randn(2, 6, side, side))
    assert squeezed.shape == (2, 6, cells, cells)
    assert branch(squeezed).shape == (2, 5)


def test_each_convolution_runs_along_one_axis():
    """What changes in one row changes, behind the first convolution, no other; then columns likewise."""
    torch.manual_seed(0)
    branch = Conv1dBranch(6, 5, channels=3, kernel_size=3).eval()
    plain = torch.randn(1, 6, 8, 8)
    moved = plain.clone()
    moved[:, :, 3, 4] += 1
    rows = (branch.along_rows(moved) != branch.along_rows(plain)).any(1)[0]
    assert set(rows.nonzero()[:, 0].tolist()) == {3}
    inside = torch.randn(1, 3, 8, 4)
    moved = inside.clone()
    moved[:, :, 3, 2] += 1
    columns = (branch.along_columns(moved) != branch.along_columns(inside)).any(1)[0]
    assert set(columns.nonzero()[:, 1].tolist()) == {2}
    assert all(min(each[0].kernel_size) == 1 for each in (branch.along_rows, branch.along_columns))


@pytest.mark.parametrize("kernel_size", [0, 1, 2, 4])
def test_a_kernel_that_has_no_middle_or_no_neighbours_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size is {kernel_size}: use an odd number from 3 on"):
        Conv1dBranch(6, 5, kernel_size=kernel_size)


def test_squeezing_needs_no_parameters(backbone, splits):
    feature_map = backbone.stages[0](splits.normalise(splits.test.images[:4]))
    first, second = Conv1dBranch(8, 10), Conv1dBranch(8, 3, channels=1)
    assert torch.equal(first.squeeze(feature_map), second.squeeze(feature_map))


def test_float16_maps_are_learned_from_as_the_same_numbers_in_float32(features, branch_parameters):
    maps, targets = features["train"].squeezed[1][:200].half(), features["train"].labels[:200]
    branches = []
    for stored in (maps, maps.float()):
        torch.manual_seed(0)
        branches.append(Conv1dBranch(16, 10, channels=4, kernel_size=3))
        train_branch(branches[-1], stored, targets, branch_parameters, seed=0)
    assert torch.equal(state_of(branches[0]), state_of(branches[1]))
    assert torch.equal(branch_logits(branches[0], maps), branch_logits(branches[1], maps.float()))


def test_memory_of_training_does_not_grow_with_the_number_of_images(tmp_path, branch_parameters):
    """The maps are a sparse file of 160 MB, of which every row is read once."""
    mapped = np.lib.format.open_memmap(tmp_path / "maps.npy", "w+", np.float32, (100_000, 8, 7, 7))
    mapped.flush()
    maps = torch.from_numpy(np.load(tmp_path / "maps.npy", mmap_mode="c"))
    branch = Conv1dBranch(8, 10, channels=4, kernel_size=3)
    used = []
    branch.register_forward_pre_hook(lambda *_: used.append(anonymous_memory()))
    parameters = branch_parameters.model_copy(update={"epochs": 1, "batch_size": 2000})
    train_branch(branch, maps, torch.zeros(100_000, dtype=torch.int64), parameters, seed=0)
    assert len(used) == 50
    assert max(used) - max(used[:8]) < 10


def test_training_and_answers_take_one_thread_and_leave_the_number_as_it_was(features, branch_parameters):
    """The last digits depend on the number of threads, and with hard filters the survivors on those."""
    seen, before = [], torch.get_num_threads()

    def watched(logits, targets):
        seen.append(torch.get_num_threads())
        return functional.cross_entropy(logits, targets, reduction="none")

    squeezed, labels = features["train"].squeezed[0], features["train"].labels
    torch.manual_seed(0)
    branch = Conv1dBranch(squeezed.shape[1], 10, 4).eval()
    branch(squeezed[:1].float())
    branch.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        train_branch(branch, squeezed, labels, branch_parameters, seed=0, losses=watched)
        branch_logits(branch, squeezed)
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
    assert after == 2


def test_a_training_that_diverges_stops_and_says_how_to_go_on(train):
    with pytest.raises(TrainingError, match=r"a branch's loss is nan: lower branches\.learning_rate"):
        train(losses=lambda logits, targets: logits.sum(1) * torch.nan)
