"""Exact copies among images: found by digests of 16 bytes an image, so that no images are held.

Positions count through the sets laid end to end.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from torch import Tensor

from btsee_lib.data.splits import DataError, ImageSet, Splits, chunks

DIGEST_BYTES = 16
SPLITS = ("train", "valid", "test")


def digest_of(image: bytes | np.ndarray) -> bytes:
    """Digest of the pixels of one image: equal for equal images, and for others never, in practice."""
    return hashlib.blake2b(image, digest_size=DIGEST_BYTES).digest()


def digests_of(images: Tensor) -> np.ndarray:
    """Digests of images (N, C, H, W), as 16 raw bytes each: (N,)."""
    found = bytearray()
    for piece in chunks(images):
        for image in np.ascontiguousarray(piece.numpy()):
            found += digest_of(image)
    return as_array(found)


def as_array(digests: bytes | bytearray) -> np.ndarray:
    """View digests laid end to end as an array (N,)."""
    return np.frombuffer(bytes(digests), dtype=f"V{DIGEST_BYTES}")


def equal_pairs(digests: np.ndarray) -> np.ndarray:
    """Pairs (first, later) of positions of equal digests (N,), in the order of ``later``: int64 (P, 2)."""
    order = np.argsort(digests, kind="stable")
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = digests[order[1:]] != digests[order[:-1]]
    first = order[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    pairs = np.stack([first, order], axis=1)[~starts]
    return pairs[pairs[:, 1].argsort()]


def duplicates(*sets: ImageSet) -> list[tuple[int, int]]:
    """Find exact copies: pairs (first, later) of positions in the sets laid end to end."""
    pairs = equal_pairs(np.concatenate([digests_of(each.images) for each in sets]))
    return [(int(first), int(later)) for first, later in pairs]


def duplicate_table(splits: Splits) -> pd.DataFrame:
    """List every image that is an exact copy of an earlier one, splits in the order train, valid, test.

    Returns
    -------
    pandas.DataFrame
        One row a copy: ``split, position, name, label`` of the image and, with ``first_`` before them, of
        the first image of the same pixels, and ``same_label``. Names are empty in a data set without.
    """
    sets = [getattr(splits, name) for name in SPLITS]
    digests = np.concatenate([digests_of(each.images) for each in sets])
    names = [np.full(len(each), b"") if each.names is None else each.names for each in sets]
    return table_of_pairs(digests, [each.labels.numpy() for each in sets], names, splits.classes)


def table_of_pairs(
    digests: np.ndarray, labels: Sequence[np.ndarray], names: Sequence[np.ndarray], classes: Sequence[str]
) -> pd.DataFrame:
    """Make the table of ``duplicate_table`` from digests of all images, and labels and names a split."""
    pairs = equal_pairs(digests)
    ends = np.cumsum([len(each) for each in labels])
    starts = np.concatenate([[0], ends[:-1]])
    all_labels, all_names = np.concatenate(labels), np.concatenate(names)
    columns = {}
    for prefix, at in (("first_", pairs[:, 0]), ("", pairs[:, 1])):
        split = np.searchsorted(ends, at, side="right")
        columns[f"{prefix}split"] = np.array(SPLITS)[split]
        columns[f"{prefix}position"] = at - starts[split]
        columns[f"{prefix}name"] = [name.decode() for name in all_names[at]]
        columns[f"{prefix}label"] = [classes[label] for label in all_labels[at]]
    columns["same_label"] = all_labels[pairs[:, 0]] == all_labels[pairs[:, 1]]
    return pd.DataFrame(columns)


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


def without_test_duplicates(splits: Splits) -> Splits:
    """Leave out the test images that occur in ``train`` or ``valid`` or earlier in ``test``.

    Raises
    ------
    DataError
        If nothing of a class would be left.
    """
    digests = [digests_of(getattr(splits, name).images) for name in SPLITS]
    later = equal_pairs(np.concatenate(digests))[:, 1] - (len(splits.train) + len(splits.valid))
    kept = np.ones(len(splits.test), dtype=bool)
    kept[later[later >= 0]] = False
    labels = splits.test.labels.numpy()
    gone = np.setdiff1d(labels, labels[kept])
    if len(gone):
        raise DataError(
            f"without copies test has no image of '{splits.classes[gone[0]]}': set "
            f"data.drop_test_duplicates to false"
        )
    number = int(kept.sum())
    # Where the copies stand last, as in stored arrays, the rest stays mapped from its file.
    positions = slice(number) if kept[:number].all() else np.flatnonzero(kept)
    return replace(splits, test=splits.test.take(positions))
