"""Random flips and crops: drawn on the CPU for a whole batch, carried out where the images are.

Drawing and doing are apart because the numbers must not depend on who uses them: every process of
a training draws the same ones for the whole batch and takes those of its own images.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Draws(NamedTuple):
    """What happens to N images: ``flipped`` bool (N,), ``corners`` int64 (N, 2), row and column."""

    flipped: Tensor
    corners: Tensor

    def of(self, positions: Tensor) -> "Draws":
        """Return the draws of some of the images."""
        return Draws(self.flipped[positions], self.corners[positions])


def draw(number: int, crop_padding: int, generator: torch.Generator) -> Draws:
    """Draw for ``number`` images whether each is mirrored and where it is cropped."""
    flipped = torch.rand(number, generator=generator) < 0.5
    if crop_padding == 0:
        return Draws(flipped, torch.zeros(number, 2, dtype=torch.int64))
    return Draws(flipped, torch.randint(2 * crop_padding + 1, (number, 2), generator=generator))


def augment(images: Tensor, draws: Draws, crop_padding: int) -> Tensor:
    """Flip and crop images (N, C, H, W) on the device where they are.

    Parameters
    ----------
    draws : those of these images.
    crop_padding : pixels of zeros around an image, before a window of its size is cut out.
    """
    flipped = draws.flipped.to(images.device).view(-1, 1, 1, 1)
    images = torch.where(flipped, images.flip(3), images)
    return images if crop_padding == 0 else _crop(images, draws.corners.to(images.device), crop_padding)


def _crop(images: Tensor, corners: Tensor, padding: int) -> Tensor:
    """Cut from each padded image the window whose upper left pixel is its corner."""
    number, channels, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    rows = corners[:, 0, None] + torch.arange(height, device=images.device)
    columns = corners[:, 1, None] + torch.arange(width, device=images.device)
    which = torch.arange(number, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[which, channel, rows[:, None, :, None], columns[:, None, None, :]]
