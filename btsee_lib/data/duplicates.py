"""Exact copies among images: found by digests of 16 bytes an image, so that no images are held.

Positions count through the sets laid end to end.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from btsee_lib.data.splits import ImageSet, Splits, chunks
from btsee_lib.errors import DataError

SPLITS = ("train", "valid", "test")


def digest_of(image: np.ndarray) -> bytes:
    """Digest of the pixels of one image: equal for equal images, and for others never, in practice."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()


def _digests_of(sets: Iterable[ImageSet]) -> pd.Series:
    pieces = (piece.numpy() for each in sets for piece in chunks(each.images))
    return pd.Series([digest_of(image) for piece in pieces for image in piece], dtype=object)


def duplicates(*sets: ImageSet) -> list[tuple[int, int]]:
    """Find exact copies: pairs (first, later) of positions in the sets laid end to end."""
    digests = _digests_of(sets)
    first = digests.index.to_series().groupby(digests).transform("first")[digests.duplicated()]
    return list(zip(first.tolist(), first.index.tolist(), strict=True))


def duplicate_table(splits: Splits) -> pd.DataFrame:
    """List every image that is an exact copy of an earlier one, splits in the order train, valid, test.

    Returns
    -------
    pandas.DataFrame
        One row a copy: ``split, position, name, label`` of the image and, with ``first_`` before them, of
        the first image of the same pixels, and ``same_label``. Names are empty in a data set without.
    """
    sets, tables = [getattr(splits, split) for split in SPLITS], []
    for split, each in zip(SPLITS, sets, strict=True):
        columns = {"split": split, "position": np.arange(len(each))}
        columns["name"] = "" if each.names is None else np.char.decode(each.names)
        columns["label"] = np.array(splits.classes)[each.labels]
        tables.append(pd.DataFrame(columns))
    images = pd.concat(tables, ignore_index=True)
    first, later = np.array(duplicates(*sets), dtype=int).reshape(-1, 2).T
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
    for first, split in combinations_with_replacement(SPLITS, 2):
        found = table[(table["first_split"] == first) & (table["split"] == split)]
        rows.append((first, split, len(found), int((~found["same_label"].astype(bool)).sum())))
    return pd.DataFrame(rows, columns=["first_split", "split", "copies", "under_two_labels"])


def without_test_duplicates(splits: Splits) -> Splits:
    """Leave out the test images that occur in ``train`` or ``valid`` or earlier in ``test``.

    Raises
    ------
    DataError
        If nothing of a class would be left.
    """
    number = len(splits.test)
    if splits.copies_in_test is None:
        is_copy = _digests_of(getattr(splits, name) for name in SPLITS).duplicated().to_numpy()
        kept = np.flatnonzero(~is_copy[-number:])
    else:
        kept = slice(number - splits.copies_in_test)  # it stays mapped from its file
    test = splits.test.take(kept)
    gone = np.setdiff1d(splits.test.labels, test.labels)
    if len(gone):
        told = f"without copies test has no image of '{splits.classes[gone[0]]}'"
        raise DataError(f"{told}: set data.drop_test_duplicates to false")
    return replace(splits, test=test, copies_in_test=0)
