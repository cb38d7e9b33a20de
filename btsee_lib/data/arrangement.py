"""Put arrived images in order: three splits, shuffled by a seed, and write them as arrays.

The order depends on names and seed alone, not on the order in which the pictures came: an archive and
the folder that it unpacks to give the same arrays. Images of ``test`` that are exact copies of
others stand last in it, so that leaving them out is a slice.

One split is a table with a row an image, in its order: ``label`` (a number), ``name``, ``digest``, and as
its index where the image lies on the shelf.
"""

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from btsee_lib.data.arrivals import Arrivals
from btsee_lib.data.duplicates import SPLITS
from btsee_lib.data.image_files import NO_PICTURE
from btsee_lib.data.sources import IN_HIDDEN
from btsee_lib.data.splits import stratified_split, valid_number
from btsee_lib.errors import DataError

FEWEST = 5  # images of a class that can be shared out among three splits
BESIDE = "beside the folders of the splits"
TWICE = "there again later under the same name"
SHARE = 5  # one image in so many goes to ``test`` and one to ``valid``, where the data come unsplit


def arrange(arrivals: Arrivals, source: Path, seed: int) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Share images out among ``train``, ``valid`` and ``test``, each shuffled; return them and the classes.

    Data that come unsplit are split 60/20/20 and data without ``valid`` give a fifth of ``train``, at
    most 10,000 images, both stratified by class.

    What ``arrivals`` then tells as left out includes what belongs to no split, and all but the last of
    pictures of one name.

    Raises
    ------
    DataError
        If a split or a class of one is missing, a class is too small to be split, pictures of a class cannot
        be read at all, class folders of one split, or of data that come unsplit, stand in several places or
        beside the splits, or two classes look alike.
    """
    table = pd.DataFrame(arrivals.rows, columns=["split", "class", "name", "digest", "above"])
    if table["split"].any():  # what stands beside the folders of the splits belongs to none
        _check_beside(table, source)
        table = _without(table, table["split"] == "", BESIDE, arrivals)
    # An archive may hold a name again: what is unpacked last stays.
    table = _without(table, table.duplicated(["above", "class", "name"], keep="last"), TWICE, arrivals)
    _check_unread(table, arrivals, source)
    for split, part in table.groupby("split"):
        _check_place(part, split, source)
    classes = sorted(table["class"].unique())
    _check_alike(classes, source)
    table["label"] = np.searchsorted(classes, table["class"])
    parts = {split: _shuffled(part, seed) for split, part in table.groupby("split")}
    absent = next((split for split in ("train", "test") if split not in parts), None)
    if set(parts) == {""}:
        _check_numbers(parts[""], classes, source)
        rest, test = _cut(parts[""], len(table) // SHARE, seed)
        train, valid = _cut(rest, len(test), seed)
        parts = {"train": train, "valid": valid, "test": test}
    elif absent:
        raise DataError(f"{source} has no pictures in {absent}/: add some, or put all into one folder a class")
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


def _without(table: pd.DataFrame, dropped: pd.Series, why: str, arrivals: Arrivals) -> pd.DataFrame:
    for row in table[dropped].itertuples():
        arrivals.left_out[row.split, row[2], why] += 1  # its class
    return table[~dropped]


def _check_unread(table: pd.DataFrame, arrivals: Arrivals, source: Path) -> None:
    """Stop where a class would be missing in silence, since what would be its pictures cannot be read."""
    classes, splits = set(table["class"]) | {""}, set(table["split"])
    for (split, label, why), number in arrivals.left_out.items():
        if label not in classes and why not in (NO_PICTURE, BESIDE, IN_HIDDEN) and (split or "" in splits):
            raise DataError(
                f"{source}: the class '{label}' has no picture that can be read, {number:,} left out ({why}): "
                "convert them to JPEG or PNG, or remove the folder of the class"
            )


def _check_beside(table: pd.DataFrame, source: Path) -> None:
    """Stop where whole class folders belong to no split: they may be one under a name that is not known."""
    beside = table[(table["split"] == "") & table["class"].isin(table["class"][table["split"] != ""])]
    if len(beside):
        place = "/".join(filter(None, beside.iloc[0][["above", "class"]]))
        raise DataError(
            f"{source}: the class folder '{place}' stands beside train/, valid/ and test/: "
            "move its pictures into one of these, or remove it"
        )


def _check_alike(classes: list[str], source: Path) -> None:
    known = {}
    for name in classes:
        other = known.setdefault(unicodedata.normalize("NFC", name).strip(), name)
        if other != name:
            raise DataError(
                f"{source}: the classes {other!a} and {name!a} look alike: give them other names, or put their "
                "pictures into one folder"
            )


def _check_place(part: pd.DataFrame, split: str, source: Path) -> None:
    places = sorted(part["above"].unique())
    if len(places) > 1:
        first, second = (f"'{place or '.'}'" for place in places[:2])
        raise DataError(
            f"{source}: pictures {f'of {split} ' if split else ''}stand in class folders in {first} and in "
            f"{second}: put all class folders into one folder, or into train/, valid/ and test/"
        )


def reading_table(parts: dict[str, pd.DataFrame], arrivals: Arrivals) -> pd.DataFrame:
    """Tell what was found where, and what became of it.

    Parameters
    ----------
    parts : as ``arrange`` returns them.

    Returns
    -------
    pandas.DataFrame
        One row a split and class, as the data came: ``split, class, found, read, left_out, why``.
    """
    read = Counter(zip(*(pd.concat(parts.values())[name] for name in ("split", "class")), strict=True))
    rows = []
    for split, label in sorted(read.keys() | {key[:2] for key in arrivals.left_out}):
        reasons = {key[2]: number for key, number in arrivals.left_out.items() if key[:2] == (split, label)}
        why = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
        left_out = sum(reasons.values())
        rows.append((split, label, read[split, label] + left_out, read[split, label], left_out, why))
    return pd.DataFrame(rows, columns=["split", "class", "found", "read", "left_out", "why"])


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
