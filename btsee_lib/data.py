"""Data sets as three splits of raw images.

``train`` fits the backbone and the branches, ``valid`` is where everything is chosen, ``test`` is
only reported. Images stay uint8 (N, C, H, W) until a batch is normalised on its way into a network.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from btsee_lib import fashion_mnist
from btsee_lib.config import repository_root
from btsee_lib.fashion_mnist import DataError

VALID_SIZE = 10_000
NAMES = ("fashion-mnist",)


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """The three splits, the class names, the channel statistics of ``train``, and the source."""

    train: ImageSet
    valid: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 images (N, C, H, W) into float32 of zero mean and unit spread a channel."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return (images.float() / 255 - mean) / std


def load_splits(name: str, root: Path | None = None, seed: int = 0, limit: int | None = None) -> Splits:
    """Load a data set, fetching it if need be.

    Parameters
    ----------
    name : one of ``NAMES``.
    root : folder of the raw downloads, by default ``data/`` in the repository.
    seed : decides which images of the published training set become ``valid``.
    limit : keep at most this many images a split (for quick trials).

    Raises
    ------
    DataError
        If the name is unknown, or the files are damaged or not to be had.
    """
    if name not in NAMES:
        raise DataError(f"unknown data set '{name}': use one of {', '.join(NAMES)}")
    folder = Path(root or repository_root() / "data") / name
    source = fashion_mnist.ensure(folder)
    images, labels = fashion_mnist.read(folder, "train")
    train, valid = stratified_split(labels, VALID_SIZE, seed)
    test_images, test_labels = fashion_mnist.read(folder, "t10k")
    train_set = _image_set(images[train[:limit]], labels[train[:limit]])
    mean, std = channel_statistics(train_set.images)
    return Splits(
        train=train_set,
        valid=_image_set(images[valid[:limit]], labels[valid[:limit]]),
        test=_image_set(test_images[:limit], test_labels[:limit]),
        classes=fashion_mnist.CLASSES,
        mean=mean,
        std=std,
        source=source,
    )


def stratified_split(labels: np.ndarray, valid_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled indices of train and valid, each with the class shares of ``labels`` (N,)."""
    train, valid = train_test_split(
        np.arange(len(labels)), test_size=valid_size, stratify=labels, random_state=seed
    )
    return train, valid


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel of uint8 images (N, C, H, W), on the scale 0 to 1."""
    per_channel = images.transpose(0, 1).flatten(1)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in per_channel:
        # A histogram of 256 bins is exact for bytes and needs no float copy of the images.
        shares = torch.bincount(channel.int(), minlength=256).double() / channel.numel()
        centre = (shares * values).sum()
        mean.append(float(centre))
        std.append(float((shares * (values - centre) ** 2).sum().sqrt()))
    return tuple(mean), tuple(std)


def duplicates(*sets: ImageSet) -> list[tuple[int, int]]:
    """Find exact copies: pairs (first, later) of positions in the sets laid end to end."""
    seen: dict[bytes, int] = {}
    pairs = []
    everything = torch.cat([each.images for each in sets]).flatten(1).numpy()
    for position, image in enumerate(everything):
        first = seen.setdefault(image.tobytes(), position)
        if first != position:
            pairs.append((first, position))
    return pairs


def _image_set(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1),
        labels=torch.from_numpy(labels.astype(np.int64)),
    )


__all__ = ["NAMES", "DataError", "ImageSet", "Splits", "load_splits"]
