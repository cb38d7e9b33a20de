import pytest
import torch
from torch.nn import functional

from btsee_lib.schemes import SCHEMES

SURVIVORS = torch.tensor([True, False, True, True])


@pytest.mark.parametrize(("name", "expected"), [("independent", [1, 1, 1, 1]), ("boosted", [1, 0, 1, 1])])
def test_independent_branches_learn_from_all_and_boosted_ones_from_the_survivors(name, expected):
    weights = SCHEMES[name].weights(SURVIVORS)
    assert weights.dtype == torch.float32
    assert weights.tolist() == expected


def test_only_boosted_branches_are_trained_behind_margins():
    assert {name: scheme.sequential for name, scheme in SCHEMES.items()} == {
        "independent": False,
        "boosted": True,
    }


@pytest.mark.parametrize("name", SCHEMES)
def test_the_losses_are_the_cross_entropy_sample_by_sample(name):
    logits, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 3
    losses = SCHEMES[name].losses(logits, targets)
    assert losses.shape == (5,)
    for loss, row, target in zip(losses, logits, targets, strict=True):
        assert torch.isclose(loss, functional.cross_entropy(row, target))
