"""Data sets as three splits of raw images.

``train`` fits the backbone and the branches, ``valid`` is where everything is chosen, ``test`` is
only reported. Images stay uint8 (N, C, H, W) until a batch is normalised on its way into a network.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from btsee_lib.data import cifar, cinic10, fashion_mnist, image_folder
from btsee_lib.data.duplicates import without_test_duplicates
from btsee_lib.data.splits import Splits, channel_statistics
from btsee_lib.errors import DataError
from btsee_lib.experiment import repository_root

# Each takes the folder of the data set, ``seed``, and those of the other parameters that it knows.
DATA_SETS: dict[str, Callable[..., Splits]] = {
    "fashion-mnist": fashion_mnist.load,
    "cinic-10": cinic10.load,
    "cifar-10": cifar.load_cifar10,
    "cifar-100": cifar.load_cifar100,
    "folder": image_folder.load,
}


def load_splits(
    name: str,
    root: Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    *,
    path: Path | None = None,
    image_size: int | None = None,
    mirrors: Sequence[str] = (),
    drop_test_duplicates: bool = False,
) -> Splits:
    """Load a data set, fetching it if need be.

    Parameters
    ----------
    name : a key of ``DATA_SETS``.
    root : folder of the raw downloads and the stored arrays, by default ``data/`` in the repository.
    seed : decides which images become ``valid`` where the publisher names none, and the order.
    limit : keep at most this many images a split (for quick trials).
    path : a folder or archive to read, for the data sets that can be read from anywhere.
    image_size : pixels a side to which images are brought while they are read.
    mirrors : addresses to download CINIC-10 from, tried in this order.
    drop_test_duplicates : leave out test images that occur, pixel for pixel, in ``train`` or ``valid`` or
        earlier in ``test``.

    Raises
    ------
    DataError
        If the name is unknown, a parameter has no meaning for this data set, or the files are damaged
        or not to be had.
    """
    if name not in DATA_SETS:
        raise DataError(f"unknown data set '{name}': use one of {', '.join(DATA_SETS)}")
    known = inspect.signature(DATA_SETS[name]).parameters
    _check_numbers(seed=seed, limit=limit, image_size=image_size)
    if path is not None and not (isinstance(path, str | Path) and str(path)):
        raise DataError(f"data.path is {path!r}: name a folder or an archive")
    options = {"path": path and Path(path), "image_size": image_size}
    unknown = [key for key, value in options.items() if value is not None and key not in known]
    if unknown:
        raise DataError(f"data.{unknown[0]} has no meaning for the data set '{name}': set it to null")
    options = {key: value for key, value in (options | {"mirrors": mirrors}).items() if key in known}
    folder = Path(root or repository_root() / "data") / name
    splits = DATA_SETS[name](folder, seed=seed, **options)
    if drop_test_duplicates:
        splits = without_test_duplicates(splits)
    return splits if limit is None else _limited(splits, limit)


def _check_numbers(**given: int | None) -> None:
    for key, value in given.items():
        least = 0 if key == "seed" else 1
        if (value is not None or key == "seed") and (type(value) is not int or value < least):
            raise DataError(f"data.{key} is {value!r}: give a whole number, at least {least}")


def _limited(splits: Splits, limit: int) -> Splits:
    train, valid, test = (each.take(slice(limit)) for each in (splits.train, splits.valid, splits.test))
    mean, std = channel_statistics(train.images)
    return replace(splits, train=train, valid=valid, test=test, mean=mean, std=std, copies_in_test=None)
