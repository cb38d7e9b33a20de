import pytest
import torch
from torch.nn import functional

from btsee_lib.schemes import PAPER_SCHEMES, SCHEMES, Known
from btsee_lib.schemes.scheme import Scheme

KNOWN = Known(torch.tensor([True, False, True, True]), torch.tensor([[-0.2, 0.1, -0.3, -0.4]]))
FIRST = Known(torch.ones(4, dtype=torch.bool), torch.empty(0, 4))


@pytest.mark.parametrize(("name", "expected"), [("independent", [1, 1, 1, 1]), ("boosted", [1, 0, 1, 1])])
def test_independent_branches_learn_from_all_and_boosted_ones_from_the_survivors(name, expected):
    weights = PAPER_SCHEMES[name].weights(KNOWN)
    assert weights.dtype == torch.float32
    assert weights.tolist() == expected


def test_only_boosted_branches_of_the_paper_are_trained_behind_margins():
    found = {name: scheme.sequential for name, scheme in PAPER_SCHEMES.items()}
    assert found == {"independent": False, "boosted": True}


@pytest.mark.parametrize("name", SCHEMES)
def test_the_first_branch_learns_from_all_samples_alike(name):
    (phase,) = SCHEMES[name].phases(FIRST)
    share, weights = phase
    assert share == 1
    assert weights.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", SCHEMES)
def test_the_visits_of_all_phases_are_those_of_one(name):
    assert sum(share for share, _ in SCHEMES[name].phases(KNOWN)) == 1


def test_the_losses_are_the_cross_entropy_sample_by_sample():
    generator = torch.Generator().manual_seed(0)
    logits, teacher, before = (torch.randn(5, 3, generator=generator) for _ in range(3))
    targets = torch.arange(5) % 3
    head = Scheme().head(3)
    losses = head(logits, targets, teacher, before)
    assert losses.shape == (5,)
    for loss, row, target in zip(losses, logits, targets, strict=True):
        assert torch.isclose(loss, functional.cross_entropy(row, target))
    assert head.answers(logits, before) is logits
    assert not [*head.parameters()]
