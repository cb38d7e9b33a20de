"""Put arrived images in order: three splits, shuffled by a seed, and write them as arrays.

The order depends on names and seed alone, not on the order in which the pictures came: an archive and
the folder that it unpacks to give the same arrays. Images of ``test`` that are exact copies of
others stand last in it, so that leaving them out is a slice.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from btsee_lib.data.arrivals import Arrivals, Shelf
from btsee_lib.data.duplicates import SPLITS, as_array, equal_pairs
from btsee_lib.data.splits import DataError, stratified_split, valid_number

FEWEST = 5  # images of a class that can be shared out among three splits
SHARE = 5  # one image in so many goes to ``test`` and one to ``valid``, where the data come unsplit


@dataclass(frozen=True)
class Part:
    """One split in its order: for each image where it stands on the shelf, and what is known of it.

    ``positions`` and ``labels`` int64 (N,); ``names`` bytes (N,); ``digests`` (N,).
    """

    shelf: Shelf
    positions: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    digests: np.ndarray

    def take(self, order: np.ndarray) -> "Part":
        """Return the images at these places of this part."""
        fields = (self.positions, self.labels, self.names, self.digests)
        return Part(self.shelf, *(each[order] for each in fields))


def arrange(arrivals: Arrivals, source: Path, seed: int) -> tuple[dict[str, Part], list[str]]:
    """Share images out among ``train``, ``valid`` and ``test``, each shuffled; return them and the classes.

    Data that come unsplit are split 60/20/20 and data without ``valid`` give a fifth of ``train``, at
    most 10,000 images, both stratified by class.

    Raises
    ------
    DataError
        If a split or a class of one is missing, a class is too small to be split, or class folders of
        data that come unsplit stand in several places.
    """
    shelves = dict(arrivals.shelves)
    if len(shelves) > 1:
        arrivals.passed_over += len(shelves.pop("", Shelf(None)).labels)
    classes = _class_names(arrivals, shelves)
    parts = {split: _shuffled(shelf, classes, arrivals, seed) for split, shelf in shelves.items()}
    missing = [split for split in ("train", "test") if split not in parts]
    if set(parts) == {""}:
        _check_place(arrivals, source)
        _check_numbers(parts[""], classes, source)
        rest, test = _cut(parts[""], len(parts[""].labels) // SHARE, seed)
        train, valid = _cut(rest, len(test.labels), seed)
        parts = {"train": train, "valid": valid, "test": test}
    elif missing:
        raise DataError(
            f"{source} has no pictures in {missing[0]}/: add some, or put all into one folder a class"
        )
    elif "valid" not in parts:
        _check_numbers(parts["train"], classes, source)
        parts["train"], parts["valid"] = _cut(parts["train"], valid_number(len(parts["train"].labels)), seed)
    _check_classes(parts, classes, source)
    return {split: parts[split] for split in SPLITS}, classes


def _class_names(arrivals: Arrivals, shelves: dict[str, Shelf]) -> list[str]:
    used = {label for shelf in shelves.values() for label in set(shelf.labels)}
    return sorted(name for name, label in arrivals.classes.items() if label in used)


def _shuffled(shelf: Shelf, classes: list[str], arrivals: Arrivals, seed: int) -> Part:
    number_of = np.zeros(len(arrivals.classes), dtype=np.int64)
    for number, name in enumerate(classes):
        number_of[arrivals.classes[name]] = number
    labels = number_of[np.asarray(shelf.labels)]
    part = Part(shelf, np.arange(len(labels)), labels, np.array(shelf.names), as_array(shelf.digests))
    by_name = np.lexsort((part.names, labels))
    return part.take(np.random.default_rng(seed).permutation(by_name))


def _cut(part: Part, number: int, seed: int) -> tuple[Part, Part]:
    rest, chosen = stratified_split(part.labels, number, seed)
    return part.take(rest), part.take(chosen)


def _check_place(arrivals: Arrivals, source: Path) -> None:
    if len(arrivals.class_folders) > 1:
        first, second = (f"'{name or '.'}'" for name in sorted(arrivals.class_folders)[:2])
        raise DataError(
            f"{source}: pictures stand in class folders in {first} and in {second}: put all class folders into "
            f"one folder, or into train/, valid/ and test/"
        )


def _check_numbers(part: Part, classes: list[str], source: Path) -> None:
    for name, number in zip(classes, np.bincount(part.labels, minlength=len(classes)), strict=True):
        if number < FEWEST:
            raise DataError(
                f"{source}: the class '{name}' has {number} readable pictures, too few to be split: "
                f"add some, at least {FEWEST} in all, or remove the class"
            )


def _check_classes(parts: dict[str, Part], classes: list[str], source: Path) -> None:
    if len(classes) < 2:
        raise DataError(f"{source} has pictures of one class alone ('{classes[0]}'): add another class")
    for split in SPLITS:
        found = np.bincount(parts[split].labels, minlength=len(classes))
        for name, number in zip(classes, found, strict=True):
            if not number:
                raise DataError(
                    f"{source}: {split}/ has no readable picture of '{name}', a class of another split: "
                    f"add some, or remove the class everywhere"
                )


def copies_last(parts: dict[str, Part]) -> tuple[dict[str, Part], int]:
    """Move test images that are exact copies of others to the end of ``test``, and count them.

    A copy occurs in ``train``, in ``valid``, or earlier in ``test``.
    """
    digests = np.concatenate([parts[split].digests for split in SPLITS])
    before = len(digests) - len(parts["test"].digests)
    later = equal_pairs(digests)[:, 1] - before
    is_copy = np.zeros(len(parts["test"].digests), dtype=bool)
    is_copy[later[later >= 0]] = True
    order = np.concatenate([np.flatnonzero(~is_copy), np.flatnonzero(is_copy)])
    return parts | {"test": parts["test"].take(order)}, int(is_copy.sum())


def write_images(path: Path, part: Part, channels: int, shape: tuple[int, int]) -> None:
    """Write the images of a part to a .npy file, uint8 (N, channels, H, W), one by one."""
    row = 3 * shape[0] * shape[1]
    kept = channels * shape[0] * shape[1]  # a grey picture stands there as three equal planes
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (len(part.positions), channels, *shape),
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for position in part.positions.tolist():
            # Read and not mapped: pages of a mapped file would count as this process's memory.
            part.shelf.file.seek(row * position)
            file.write(part.shelf.file.read(kept))
