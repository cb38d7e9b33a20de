import pytest
import torch
from torch.nn import functional

from btsee_lib.augmentation import Draws, augment, draw


def some_images(number=400):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (number, 2, 5, 6), dtype=torch.uint8, generator=generator)


def seeded():
    return torch.Generator().manual_seed(0)


def test_a_flip_mirrors_about_half_of_the_images_and_changes_nothing_else():
    images = some_images()
    flipped = augment(images, draw(400, 0, seeded()), 0)
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_without_a_crop_only_the_flips_are_drawn():
    generator = seeded()
    draws = draw(7, 0, generator)
    assert torch.equal(draws.flipped, torch.rand(7, generator=seeded()) < 0.5)
    assert draws.corners.tolist() == [[0, 0]] * 7
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(10, generator=seeded())[7:])


@pytest.mark.parametrize("padding", [1, 3])
def test_a_crop_is_a_window_of_the_image_with_zeros_around_it(padding):
    images, draws = some_images(50), draw(50, padding, seeded())
    padded = functional.pad(images, (padding,) * 4)
    cropped = augment(images, draws._replace(flipped=torch.zeros(50, dtype=torch.bool)), padding)
    assert cropped.dtype == torch.uint8
    for number, (row, column) in enumerate(draws.corners.tolist()):
        assert torch.equal(cropped[number], padded[number, :, row : row + 5, column : column + 6])


def test_corners_take_every_place_and_none_outside():
    corners = draw(500, 2, seeded()).corners
    assert {tuple(each) for each in corners.tolist()} == {
        (row, column) for row in range(5) for column in range(5)
    }


def test_images_of_a_share_are_augmented_as_in_the_whole_batch():
    images, draws = some_images(40), draw(40, 2, seeded())
    whole = augment(images, draws, 2)
    positions = torch.arange(1, 40, 3)
    assert isinstance(draws.of(positions), Draws)
    assert torch.equal(augment(images[positions], draws.of(positions), 2), whole[positions])
