"""Put arrived images in order: three splits, shuffled by a seed, and write them as arrays.

The order depends on names and seed alone, not on the order in which the pictures came: an archive and
the folder that it unpacks to give the same arrays. Images of ``test`` that are exact copies of
others stand last in it, so that leaving them out is a slice.

One split is a table with a row an image, in its order: ``label`` (a number), ``name``, ``digest``, and as
its index where the image lies on the shelf.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from btsee_lib.data.arrivals import Arrivals
from btsee_lib.data.duplicates import SPLITS
from btsee_lib.data.splits import stratified_split, valid_number
from btsee_lib.errors import DataError

FEWEST = 5  # images of a class that can be shared out among three splits
SHARE = 5  # one image in so many goes to ``test`` and one to ``valid``, where the data come unsplit


def arrange(arrivals: Arrivals, source: Path, seed: int) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Share images out among ``train``, ``valid`` and ``test``, each shuffled; return them and the classes.

    Data that come unsplit are split 60/20/20 and data without ``valid`` give a fifth of ``train``, at
    most 10,000 images, both stratified by class.

    Raises
    ------
    DataError
        If a split or a class of one is missing, a class is too small to be split, or class folders of
        data that come unsplit stand in several places.
    """
    table = pd.DataFrame(arrivals.rows, columns=["split", "class", "name", "digest", "above"])
    if table["split"].any():  # what stands beside the folders of the splits belongs to none
        arrivals.passed_over += int((table["split"] == "").sum())
        table = table[table["split"] != ""]
    classes = sorted(table["class"].unique())
    table["label"] = np.searchsorted(classes, table["class"])
    parts = {split: _shuffled(part, seed) for split, part in table.groupby("split")}
    missing = [split for split in ("train", "test") if split not in parts]
    if set(parts) == {""}:
        _check_place(table, source)
        _check_numbers(parts[""], classes, source)
        rest, test = _cut(parts[""], len(table) // SHARE, seed)
        train, valid = _cut(rest, len(test), seed)
        parts = {"train": train, "valid": valid, "test": test}
    elif missing:
        raise DataError(
            f"{source} has no pictures in {missing[0]}/: add some, or put all into one folder a class"
        )
    elif "valid" not in parts:
        _check_numbers(parts["train"], classes, source)
        parts["train"], parts["valid"] = _cut(parts["train"], valid_number(len(parts["train"])), seed)
    _check_classes(parts, classes, source)
    return {split: parts[split] for split in SPLITS}, classes


def _shuffled(part: pd.DataFrame, seed: int) -> pd.DataFrame:
    order = np.random.default_rng(seed).permutation(len(part))
    return part.sort_values(["label", "name"]).iloc[order]


def _cut(part: pd.DataFrame, number: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rest, chosen = stratified_split(part["label"].to_numpy(), number, seed)
    return part.iloc[rest], part.iloc[chosen]


def _check_place(table: pd.DataFrame, source: Path) -> None:
    places = sorted(table["above"].unique())
    if len(places) > 1:
        first, second = (f"'{place or '.'}'" for place in places[:2])
        raise DataError(
            f"{source}: pictures stand in class folders in {first} and in {second}: put all class folders into "
            f"one folder, or into train/, valid/ and test/"
        )


def _check_numbers(part: pd.DataFrame, classes: list[str], source: Path) -> None:
    for name, number in zip(classes, np.bincount(part["label"], minlength=len(classes)), strict=True):
        if number < FEWEST:
            raise DataError(
                f"{source}: the class '{name}' has {number} readable pictures, too few to be split: "
                f"add some, at least {FEWEST} in all, or remove the class"
            )


def _check_classes(parts: dict[str, pd.DataFrame], classes: list[str], source: Path) -> None:
    if len(classes) < 2:
        raise DataError(f"{source} has pictures of one class alone ('{classes[0]}'): add another class")
    for split in SPLITS:
        missing = np.setdiff1d(np.arange(len(classes)), parts[split]["label"])
        if len(missing):
            raise DataError(
                f"{source}: {split}/ has no readable picture of '{classes[missing[0]]}', a class of another "
                f"split: add some, or remove the class everywhere"
            )


def copies_last(parts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, int]:
    """Return ``test`` with its exact copies of other images at the end, and their number.

    A copy occurs in ``train``, in ``valid``, or earlier in ``test``.
    """
    digests = pd.concat([parts[split]["digest"] for split in SPLITS])
    is_copy = digests.duplicated().to_numpy()[-len(parts["test"]) :]
    return parts["test"].iloc[is_copy.argsort(kind="stable")], int(is_copy.sum())


def write_images(path: Path, part: pd.DataFrame, arrivals: Arrivals) -> None:
    """Write the images of a split to a .npy file, uint8 (N, C, H, W), one by one."""
    (height, width), channels = arrivals.shape, arrivals.channels
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(part), channels, height, width)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for position in part.index:
            # Read and not mapped: pages of a mapped file would count as this process's memory.
            arrivals.shelf.seek(3 * height * width * position)
            file.write(arrivals.shelf.read(channels * height * width))  # a grey one has three equal planes
