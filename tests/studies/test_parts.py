import torch

from btsee_lib.studies.parts import part_of_training


def test_a_smaller_part_lies_within_a_larger_one_and_keeps_what_belongs_together(features):
    half, quarter = (part_of_training(features, part, 0)["train"] for part in (0.5, 0.25))
    whole = features["train"]
    assert (len(half), len(quarter)) == (len(whole) // 2, len(whole) // 4)
    positions = {row.numpy().tobytes(): place for place, row in enumerate(whole.logits)}
    at_half, at_quarter = (
        [positions[row.numpy().tobytes()] for row in each.logits] for each in (half, quarter)
    )
    assert set(at_quarter) < set(at_half)
    assert torch.equal(half.labels, whole.labels[at_half])
    for part, every in zip(half.squeezed, whole.squeezed, strict=True):
        assert torch.equal(part, every[at_half])


def test_validation_and_test_images_stay_and_another_seed_draws_others(features):
    one, other = (part_of_training(features, 0.5, seed) for seed in (0, 1))
    assert all(one[name] is features[name] for name in ("valid", "test"))
    assert not torch.equal(one["train"].logits, other["train"].logits)
