import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from btsee_lib.branches import Conv1dBranch, branch_logits, sample_batches, train_branch
from btsee_lib.studies.memory import anonymous_memory


def state_of(module):
    return torch.cat([values.double().flatten() for values in module.state_dict().values()])


@pytest.fixture
def train(features, branch_parameters):
    """Train a branch of fixed initial weights for one epoch on 200 samples."""

    def run(seed=0, survivors=None, **changes):
        torch.manual_seed(0)
        branch = Conv1dBranch(16, 10, channels=4, kernel_size=3)
        visits = []
        hook = branch.register_forward_pre_hook(lambda _, inputs: visits.append(inputs[0]))
        parameters = branch_parameters.model_copy(update={"epochs": 1, "batch_size": 20} | changes)
        targets = features["train"].labels[:200]
        train_branch(branch, features["train"].squeezed[1][:200], targets, parameters, seed, survivors)
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
    _, visits = train(survivors=survivors, epochs=2)
    assert [len(batch) for batch in visits] == [20] * 20


def test_only_survivors_are_seen(train, features):
    survivors = torch.zeros(200, dtype=torch.bool)
    survivors[[3, 50, 120]] = True
    _, visits = train(survivors=survivors)
    allowed = {tuple(each.flatten().tolist()) for each in features["train"].squeezed[1][:200][survivors]}
    assert {tuple(each.flatten().tolist()) for each in torch.cat(visits)} == allowed


def test_training_on_all_survivors_is_training_on_all(train):
    everyone = torch.ones(200, dtype=torch.bool)
    assert torch.equal(state_of(train(survivors=everyone)[0]), state_of(train()[0]))


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
    strips = features["valid"].squeezed[0]
    expected = branch_logits(branches[0], strips)
    for batch_size in (1000, 77):
        torch.testing.assert_close(
            branch_logits(branches[0], strips, batch_size), expected, atol=1e-4, rtol=1e-4
        )


def test_logits_are_those_of_evaluation_mode(branches, features):
    branch, strips = branches[1], features["valid"].squeezed[1][:50]
    expected = branch(strips)
    branch.train()
    assert torch.equal(branch_logits(branch, strips), expected)
    assert not branch.training


@pytest.mark.parametrize("side", [7, 8, 14, 28, 56])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_branch_reads_maps_of_any_side(side, kernel_size):
    branch = Conv1dBranch(6, 5, channels=3, kernel_size=kernel_size).eval()
    squeezed = branch.squeeze(torch.randn(2, 6, side, side))
    assert squeezed.shape == (2, 6, 2 * side)
    assert branch(squeezed).shape == (2, 5)


def test_rows_and_columns_are_read_by_the_same_filters():
    torch.manual_seed(0)
    branch = Conv1dBranch(6, 5, channels=3, kernel_size=3).eval()
    feature_map = torch.randn(4, 6, 14, 14)
    branch(branch.squeeze(feature_map))
    with torch.no_grad():
        half = branch.classifier.in_features // 2
        branch.classifier.weight[:, half:] = branch.classifier.weight[:, :half]
    upright, turned = (branch(branch.squeeze(each)) for each in (feature_map, feature_map.transpose(2, 3)))
    torch.testing.assert_close(upright, turned)


def test_squeezing_needs_no_parameters(backbone, splits):
    feature_map = backbone.stages[0](splits.normalise(splits.test.images[:4]))
    first, second = Conv1dBranch(8, 10), Conv1dBranch(8, 3, channels=1)
    assert torch.equal(first.squeeze(feature_map), second.squeeze(feature_map))


def test_float16_strips_are_learned_from_as_the_same_numbers_in_float32(features, branch_parameters):
    strips, targets = features["train"].squeezed[1][:200].half(), features["train"].labels[:200]
    branches = []
    for stored in (strips, strips.float()):
        torch.manual_seed(0)
        branches.append(Conv1dBranch(16, 10, channels=4, kernel_size=3))
        train_branch(branches[-1], stored, targets, branch_parameters, seed=0)
    assert torch.equal(state_of(branches[0]), state_of(branches[1]))
    assert torch.equal(branch_logits(branches[0], strips), branch_logits(branches[1], strips.float()))


def test_memory_of_training_does_not_grow_with_the_number_of_images(tmp_path, branch_parameters):
    """The strips are a sparse file of 160 MB, of which every row is read once."""
    mapped = np.lib.format.open_memmap(tmp_path / "strips.npy", "w+", np.float32, (100_000, 8, 50))
    mapped.flush()
    strips = torch.from_numpy(np.load(tmp_path / "strips.npy", mmap_mode="c"))
    branch = Conv1dBranch(8, 10, channels=4, kernel_size=3)
    used = []
    branch.register_forward_pre_hook(lambda *_: used.append(anonymous_memory()))
    parameters = branch_parameters.model_copy(update={"epochs": 1, "batch_size": 2000})
    train_branch(branch, strips, torch.zeros(100_000, dtype=torch.int64), parameters, seed=0)
    assert len(used) == 50
    assert max(used) - max(used[:8]) < 10
