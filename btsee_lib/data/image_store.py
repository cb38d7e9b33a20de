"""Pictures of a folder or an archive as arrays on the disk, which are mapped and not read into memory.

What is stored carries a note of what it was made from: of other contents, another size or another
seed it is made anew. The folder gets its final name only when it is whole.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from btsee_lib.data.arrangement import arrange, copies_last, reading_table, write_images
from btsee_lib.data.arrivals import take_in
from btsee_lib.data.duplicates import SPLITS
from btsee_lib.data.file_digests import digest_of_file
from btsee_lib.data.sources import files_of
from btsee_lib.data.splits import ImageSet, Splits, channel_statistics
from btsee_lib.disk import replace_folder
from btsee_lib.errors import DataError

NOTE = "store.json"
TABLE = "reading.csv"  # what was found, by split and class, and what became of it
VERSION = 2  # of how arrays are made: those of another one are made anew
NAMED = 3  # unreadable pictures in the sentence on the source; the note has all


def ensure(
    folder: Path, source: Path, identity: str, image_size: int | None, seed: int, fetch: Callable = lambda: None
) -> Splits:
    """Map the stored arrays of a data set into memory, made first if others lie there or none.

    Parameters
    ----------
    folder : of the data set; its arrays lie in it, see ``place_of``.
    source : the folder or archive of pictures.
    identity : tells the contents of that source.
    image_size : pixels a side to which pictures are brought, whatever their aspect ratio: nothing is
        cut off. None: all have one size already.
    seed : decides the order and, for data that come unsplit, the split.
    fetch : brings the source; called only if arrays must be made.

    Raises
    ------
    DataError
        If the pictures cannot be used. The message names the file and the remedy.
    """
    recipe = {"identity": identity, "image_size": image_size, "seed": seed, "version": VERSION}
    arrays = place_of(folder, source, image_size, seed)
    if not is_current(arrays, recipe):
        fetch()
        replace_folder(arrays, lambda partial: _make(partial, source, recipe))
    return load(arrays)


def place_of(folder: Path, source: Path, image_size: int | None, seed: int) -> Path:
    """Tell where the arrays of a source lie in the folder of its data set, so that others lie elsewhere.

    Contents that change are read anew into the same place. Two experiments, of other pictures or of the same in
    another size, may so run at the same time.
    """
    asked = f"{source.resolve()} {image_size} {seed}"
    return folder / f"arrays-{hashlib.blake2b(os.fsencode(asked), digest_size=4).hexdigest()}"


def identity_of(source: Path) -> str:
    """Tell the contents of an archive by its md5, of a folder by the names, sizes and times of its files.

    Raises
    ------
    DataError
        If there is no such file or folder.
    """
    if source.is_file():
        return f"md5 {digest_of_file(source, 'md5')}"
    if not source.is_dir():
        what = "is neither a folder nor a file" if source.exists() else "does not exist"
        raise DataError(f"{source} {what}: correct data.path in params.yaml")
    listing = hashlib.blake2b(digest_size=16)
    try:
        for member in files_of(source):
            changed = 0 if member.why else (source / member.name).stat().st_mtime_ns
            listing.update(f"{member.name}\0{member.size}\0{changed}\n".encode(errors="surrogateescape"))
    except (OSError, RecursionError) as problem:
        raise DataError(f"{source} cannot be read ({problem}): correct that and run again") from None
    return f"listing {listing.hexdigest()}"


def is_current(folder: Path, recipe: dict[str, Any]) -> bool:
    """Tell whether the arrays are whole and of this recipe."""
    try:
        note = json.loads((folder / NOTE).read_text())
        whole = all(digest_of_file(folder / name, "md5") == md5 for name, md5 in note["md5"].items())
        return whole and note["made_from"] == recipe
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def load(folder: Path) -> Splits:
    """Map stored arrays into memory. What is written to a tensor stays out of the files."""
    note = json.loads((folder / NOTE).read_text())
    sets = []
    for split in SPLITS:
        paths = (folder / f"{split}_{what}.npy" for what in ("images", "labels", "names"))
        images, labels, names = (np.load(path, mmap_mode="c") for path in paths)
        sets.append(ImageSet(torch.from_numpy(images), torch.from_numpy(labels), names))
    statistics = channel_statistics(sets[0].images)
    copies = note["counts"]["copies_in_test"]
    return Splits(*sets, tuple(note["classes"]), *statistics, note["source"], copies_in_test=copies)


def _make(partial: Path, source: Path, recipe: dict[str, Any]) -> None:
    arrivals = take_in(source, partial, recipe["image_size"])
    parts, classes = arrange(arrivals, source, recipe["seed"])
    parts["test"], copies = copies_last(parts)
    for split, part in parts.items():
        write_images(partial / f"{split}_images.npy", part, arrivals)
        np.save(partial / f"{split}_labels.npy", part["label"].to_numpy())
        np.save(partial / f"{split}_names.npy", np.char.encode(part["name"].to_numpy(str)))
    arrivals.shelf.close()
    images, table = pd.concat(parts.values()), reading_table(parts, arrivals)
    table.to_csv(partial / TABLE, index=False)
    print(table.to_string(index=False), file=sys.stderr)
    counts = {
        "images": {split: len(part) for split, part in parts.items()},
        "grey_converted": arrivals.grey if arrivals.channels == 3 else 0,
        "copies_in_test": copies,
        "under_two_labels": int(images.groupby("digest")["label"].nunique().gt(1).sum()),
        "passed_over": arrivals.passed_over,
        "unreadable": arrivals.unreadable,
    }
    note = {
        "made_from": recipe,
        "source": f"{source.resolve().name} ({recipe['identity']}): {_told(counts)}",
        "classes": classes,
        "counts": counts,
        "md5": {path.name: digest_of_file(path, "md5") for path in sorted(partial.iterdir())},
    }
    (partial / NOTE).write_text(json.dumps(note, indent=1) + "\n")


def _told(counts: dict[str, Any]) -> str:
    unreadable, twice = counts["unreadable"], counts["under_two_labels"]
    names = ", ".join(unreadable[:NAMED]) + (", ..." if len(unreadable) > NAMED else "")
    return (
        f"{sum(counts['images'].values()):,} images read, {counts['grey_converted']:,} converted from "
        f"grey-scale, {len(unreadable):,} unreadable left out{f' ({names})' if names else ''}, "
        f"{counts['passed_over']:,} other files passed over, {counts['copies_in_test']:,} exact copies in test"
        + (f", {twice:,} pictures under more than one label" if twice else "")
    )
