import torch

from btsee_lib.plots.pictures import random_of_each_class

LABELS = torch.tensor([0, 1, 2] * 20)
CHOSEN = torch.arange(60) >= 30


def test_chosen_images_of_each_class_are_drawn_at_random_class_after_class():
    positions = random_of_each_class(LABELS, CHOSEN, [2, 0], 4, seed=0)
    assert LABELS[positions].tolist() == [2] * 4 + [0] * 4
    assert CHOSEN[positions].all()
    assert len(set(positions.tolist())) == 8
    assert torch.equal(positions, random_of_each_class(LABELS, CHOSEN, [2, 0], 4, seed=0))
    assert not torch.equal(positions, random_of_each_class(LABELS, CHOSEN, [2, 0], 4, seed=1))


def test_of_too_few_images_all_are_drawn():
    assert len(random_of_each_class(LABELS, CHOSEN, [1], 99)) == 10
