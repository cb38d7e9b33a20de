"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), fetched and verified by torchvision.

50,000 training images, of which a fifth becomes ``valid``, and 10,000 test images, 32 x 32 in colour.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from btsee_lib.data.download import reason_of
from btsee_lib.data.splits import Splits, split_published
from btsee_lib.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


def _load(folder: Path, *, published: str, seed: int = 0, path: Path | None = None) -> Splits:
    """Load one of the two, see ``load_splits``; ``path`` is a folder with the archive unpacked already."""
    train, test = (_read(published, folder, path, train) for train in (True, False))
    pixels = [(each.data.transpose(0, 3, 1, 2), np.array(each.targets)) for each in (train, test)]
    source = f"{published} of torchvision, {'unpacked before' if path else 'with its download'}"
    return split_published(*pixels, train.classes, source, seed)


def _read(published: str, folder: Path, path: Path | None, train: bool) -> "CIFAR10":
    from torchvision import datasets  # it takes seconds

    where = path or folder
    try:
        return getattr(datasets, published)(where, train=train, download=path is None)
    except Exception as problem:  # of the network, of the disk, or torchvision's own
        remedy = "correct data.path" if path else "connect to a network"
        raise DataError(
            f"{published} cannot be had from {where} ({reason_of(problem)}): {remedy}, or delete what is there "
            f"and unpack the published archive into that folder"
        ) from None


load_cifar10: Callable[..., Splits] = partial(_load, published="CIFAR10")
load_cifar100: Callable[..., Splits] = partial(_load, published="CIFAR100")
