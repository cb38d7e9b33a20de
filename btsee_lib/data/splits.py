"""What every data set becomes: three splits of raw images, with their classes and statistics.

Images stay uint8 (N, C, H, W) until a batch is normalised on its way into a network.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from btsee_lib.errors import DataError

CHUNK_BYTES = 2**24  # of images that are worked on at a time: they may lie in a memory-mapped file


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (N, C, H, W), which may be mapped from a file, and labels int64 (N,).

    Some data sets also know ``names``, those of the images' files, as bytes (N,).
    """

    images: Tensor
    labels: Tensor
    names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: slice | np.ndarray) -> "ImageSet":
        """Return the images at these positions: a slice stays mapped from the file, others are copied."""
        names = None if self.names is None else self.names[positions]
        return ImageSet(self.images[positions], self.labels[positions], names)


@dataclass(frozen=True)
class Splits:
    """The three splits, the class names, the channel statistics of ``train``, and the source.

    ``copies_in_test`` says how many images at the end of ``test`` are exact copies of others, None if nobody
    has looked for them yet.
    """

    train: ImageSet
    valid: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    copies_in_test: int | None = None

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that tell these images, labels and statistics from any others."""
        total = hashlib.blake2b(digest_size=8)
        for split in (self.train, self.valid, self.test):
            total.update(repr(tuple(split.images.shape)).encode())
            for images in chunks(split.images):
                total.update(np.ascontiguousarray(images.numpy()))
            total.update(np.ascontiguousarray(split.labels.numpy()))
        total.update(repr((self.mean, self.std)).encode())
        return total.hexdigest()

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 images (N, C, H, W) into float32 of zero mean and unit spread a channel."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return (images.float() / 255 - mean) / std


def split_published(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: Sequence[str],
    source: str,
    seed: int,
) -> Splits:
    """Cut ``valid`` out of published training images, every class in proportion.

    Parameters
    ----------
    train, test : images uint8 (N, C, H, W) and labels (N,), as published.
    seed : decides which training images become ``valid``.
    """
    images, labels = train
    kept, chosen = stratified_split(labels, valid_number(len(labels)), seed)
    published = ((images[kept], labels[kept]), (images[chosen], labels[chosen]), test)
    sets = [
        ImageSet(torch.tensor(images), torch.tensor(labels, dtype=torch.int64)) for images, labels in published
    ]
    return Splits(*sets, tuple(classes), *channel_statistics(sets[0].images), source)


def valid_number(published: int) -> int:
    """How many of the published training images become ``valid`` where none is published."""
    return min(10_000, published // 5)


def stratified_split(labels: np.ndarray, valid_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled indices of train and valid, each with the class shares of ``labels`` (N,)."""
    train, valid = train_test_split(
        np.arange(len(labels)), test_size=valid_size, stratify=labels, random_state=seed
    )
    return train, valid


def chunks(images: Tensor) -> Iterator[Tensor]:
    """Cut images (N, C, H, W) into pieces of about ``CHUNK_BYTES``, without copying them."""
    number = max(1, CHUNK_BYTES // max(1, images[:1].numel()))
    for start in range(0, len(images), number):
        yield images[start : start + number]


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel of uint8 images (N, C, H, W), on the scale 0 to 1.

    Raises
    ------
    DataError
        If all pixels of a channel are equal: nothing can be learnt from it, and no scale given to it.
    """
    # A histogram of 256 bins is exact for bytes and needs no float copy of the images.
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for piece in chunks(images):
        for channel, row in zip(piece.unbind(1), counts, strict=True):
            row += torch.bincount(channel.flatten(), minlength=256)
    shares = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (shares * values).sum(1)
    spread = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    if (constant := counts.count_nonzero(1) < 2).any():
        channel = int(constant.nonzero()[0]) + 1
        raise DataError(
            f"channel {channel} of {images.shape[1]} has one value in all training images: "
            "leave it out of the pictures"
        )
    return tuple(mean.tolist()), tuple(spread.tolist())
