"""Exact copies among images: found by digests of 16 bytes an image, so that no images are held.

Positions count through the sets laid end to end.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
from torch import Tensor

from btsee_lib.data.splits import ImageSet, Splits, chunks
from btsee_lib.errors import DataError

DIGEST_BYTES = 16
SPLITS = ("train", "valid", "test")


def digest_of(image: np.ndarray) -> bytes:
    """Digest of the pixels of one image: equal for equal images, and for others never, in practice."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=DIGEST_BYTES).digest()


def _digests_of(sets: Iterable[Tensor]) -> list[bytes]:
    return [digest_of(image) for images in sets for piece in chunks(images) for image in piece.numpy()]


def equal_pairs(digests: list[bytes]) -> np.ndarray:
    """Pairs (first, later) of positions of equal digests, in the order of ``later``: int64 (P, 2)."""
    raw = np.array(digests, dtype=f"V{DIGEST_BYTES}")
    _, starts, group = np.unique(raw, return_index=True, return_inverse=True)
    later = np.flatnonzero(starts[group] != np.arange(len(raw)))
    return np.stack([starts[group][later], later], axis=1)


def duplicates(*sets: ImageSet) -> list[tuple[int, int]]:
    """Find exact copies: pairs (first, later) of positions in the sets laid end to end."""
    return [(first, later) for first, later in equal_pairs(_digests_of(each.images for each in sets)).tolist()]


def duplicate_table(splits: Splits) -> pd.DataFrame:
    """List every image that is an exact copy of an earlier one, splits in the order train, valid, test.

    Returns
    -------
    pandas.DataFrame
        One row a copy: ``split, position, name, label`` of the image and, with ``first_`` before them, of
        the first image of the same pixels, and ``same_label``. Names are empty in a data set without.
    """
    sets = {name: getattr(splits, name) for name in SPLITS}
    first, later = equal_pairs(_digests_of(each.images for each in sets.values())).T
    tables = []
    for name, each in sets.items():
        columns = {"split": name, "position": np.arange(len(each))}
        columns["name"] = "" if each.names is None else np.char.decode(each.names)
        columns["label"] = np.array(splits.classes)[each.labels]
        tables.append(pd.DataFrame(columns))
    images = pd.concat(tables, ignore_index=True)
    before = images.iloc[first].reset_index(drop=True).add_prefix("first_")
    table = before.join(images.iloc[later].reset_index(drop=True))
    return table.assign(same_label=table["first_label"] == table["label"])


def counts_by_split(table: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of ``duplicate_table`` by where the two images stand.

    Returns
    -------
    pandas.DataFrame
        One row a pair of splits that can occur: ``first_split, split, copies, under_two_labels``.
    """
    rows = []
    for number, first in enumerate(SPLITS):
        for split in SPLITS[number:]:
            found = table[(table["first_split"] == first) & (table["split"] == split)]
            rows.append((first, split, len(found), int((~found["same_label"].astype(bool)).sum())))
    return pd.DataFrame(rows, columns=["first_split", "split", "copies", "under_two_labels"])


def copies_among_last(digests: list[bytes], number: int) -> np.ndarray:
    """Which of the last ``number`` images are exact copies of earlier ones: bool (number,)."""
    is_copy = np.zeros(len(digests), dtype=bool)
    is_copy[equal_pairs(digests)[:, 1]] = True
    return is_copy[len(digests) - number :]


def without_test_duplicates(splits: Splits) -> Splits:
    """Leave out the test images that occur in ``train`` or ``valid`` or earlier in ``test``.

    Raises
    ------
    DataError
        If nothing of a class would be left.
    """
    number = len(splits.test)
    if splits.copies_in_test is None:
        images = (getattr(splits, name).images for name in SPLITS)
        kept = np.flatnonzero(~copies_among_last(_digests_of(images), number))
    else:
        kept = slice(number - splits.copies_in_test)  # it stays mapped from its file
    test = splits.test.take(kept)
    gone = np.setdiff1d(splits.test.labels, test.labels)
    if len(gone):
        raise DataError(
            f"without copies test has no image of '{splits.classes[gone[0]]}': set "
            f"data.drop_test_duplicates to false"
        )
    return replace(splits, test=test, copies_in_test=0)
