"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), fetched and verified by torchvision.

50,000 training images, of which a fifth becomes ``valid``, and 10,000 test images, 32 x 32 in colour.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from btsee_lib.data.splits import DataError, ImageSet, Splits, channel_statistics, stratified_split, valid_number


def _load(folder: Path, *, published: str, seed: int = 0, path: Path | None = None) -> Splits:
    """Load one of the two.

    Parameters
    ----------
    folder : where torchvision puts the archive and what is in it.
    published : name of the data set in ``torchvision.datasets``.
    seed : decides which training images become ``valid``.
    path : a folder that holds the unpacked archive already; nothing is downloaded then.

    Raises
    ------
    DataError
        If the files are damaged or not to be had.
    """
    images, labels, classes = _read(published, folder, path, train=True)
    test_images, test_labels, _ = _read(published, folder, path, train=False)
    train, valid = stratified_split(labels, valid_number(len(labels)), seed)
    train_set = _image_set(images[train], labels[train])
    mean, std = channel_statistics(train_set.images)
    return Splits(
        train=train_set,
        valid=_image_set(images[valid], labels[valid]),
        test=_image_set(test_images, test_labels),
        classes=classes,
        mean=mean,
        std=std,
        source=f"{published} of torchvision, {'unpacked before' if path else 'with its download'}",
    )


def _read(
    published: str, folder: Path, path: Path | None, train: bool
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    from torchvision import datasets

    where = path or folder
    try:
        read = getattr(datasets, published)(where, train=train, download=path is None)
    except Exception as problem:  # of the network, of the disk, or torchvision's own
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0].split(" You can use")[0]
        remedy = "correct data.path" if path else "connect to a network"
        raise DataError(
            f"{published} cannot be had from {where} ({reason}): {remedy}, or delete what is there and "
            f"unpack the published archive into that folder"
        ) from None
    return read.data, np.array(read.targets), tuple(read.classes)


def _image_set(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return ImageSet(torch.from_numpy(channels_first), torch.from_numpy(labels))


load_cifar10: Callable[..., Splits] = partial(_load, published="CIFAR10")
load_cifar100: Callable[..., Splits] = partial(_load, published="CIFAR100")
