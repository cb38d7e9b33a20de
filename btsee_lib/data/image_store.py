"""Pictures of a folder or an archive as arrays on the disk, which are mapped and not read into memory.

What is stored carries a note of what it was made from: of other contents, another size or another
seed it is made anew. The folder gets its final name only when it is whole.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btsee_lib.data.arrangement import arrange, copies_last, write_images
from btsee_lib.data.arrivals import take_in
from btsee_lib.disk import replace_folder
from btsee_lib.data.download import md5_of
from btsee_lib.data.duplicates import SPLITS, table_of_pairs
from btsee_lib.data.image_files import files_of
from btsee_lib.data.splits import DataError, ImageSet, Splits, channel_statistics

NOTE = "store.json"
NAMED = 3  # unreadable pictures in the sentence on the source; the note has all


@dataclass(frozen=True)
class Recipe:
    """What stored arrays are made from: equal recipes give equal arrays.

    ``identity`` tells the contents of the source, ``image_size`` is in pixels a side (None: as it is).
    """

    identity: str
    image_size: int | None
    seed: int
    version: int = 1


@dataclass(frozen=True)
class Origins:
    """Where the images of a data set that was put together come from, as the file's name tells."""

    names: tuple[str, ...] = ()
    number_of: Callable[[str], int] | None = None


def ensure(
    folder: Path,
    recipe: Recipe,
    find: Callable[[], tuple[Path, str]],
    origins: Origins = Origins(),
) -> Splits:
    """Map the stored arrays of a data set into memory, made first if others lie there or none.

    Parameters
    ----------
    folder : of the arrays.
    find : returns the folder or archive of pictures, and a name for it; called only if need be.

    Raises
    ------
    DataError
        If the pictures cannot be used. The message names the file and the remedy.
    """
    if not is_current(folder, recipe):
        source, description = find()
        replace_folder(folder, lambda partial: _make(partial, source, description, recipe, origins))
    return load(folder)


def identity_of(source: Path) -> str:
    """Tell the contents of an archive by its md5, of a folder by the names, sizes and times of its files.

    Raises
    ------
    DataError
        If there is no such file or folder.
    """
    if source.is_file():
        return f"md5 {md5_of(source)}"
    if not source.is_dir():
        raise DataError(f"{source} does not exist: correct data.path in params.yaml")
    listing = hashlib.blake2b(digest_size=16)
    for place in files_of(source):
        state = (source / place).stat()
        listing.update(f"{place.as_posix()}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return f"listing {listing.hexdigest()}"


def is_current(folder: Path, recipe: Recipe) -> bool:
    """Tell whether the arrays are whole and of this recipe."""
    try:
        note = json.loads((folder / NOTE).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in note["sizes"].items())
        return whole and note["made_from"] == asdict(recipe)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def load(folder: Path) -> Splits:
    """Map stored arrays into memory. What is written to a tensor stays out of the files."""
    note = json.loads((folder / NOTE).read_text())
    sets = {}
    for split in SPLITS:
        images, labels, names = (
            np.load(folder / f"{split}_{what}.npy", mmap_mode="c") for what in ("images", "labels", "names")
        )
        path = folder / f"{split}_origin.npy"
        origin = torch.from_numpy(np.load(path)) if path.is_file() else None
        sets[split] = ImageSet(torch.from_numpy(images), torch.from_numpy(labels), origin, names)
    mean, std = channel_statistics(sets["train"].images)
    classes, origins = tuple(note["classes"]), tuple(note["origins"])
    return Splits(**sets, classes=classes, mean=mean, std=std, source=note["source"], origins=origins)


def _make(partial: Path, source: Path, description: str, recipe: Recipe, origins: Origins) -> None:
    arrivals = take_in(source, partial, recipe.image_size)
    parts, classes = arrange(arrivals, source, recipe.seed)
    parts, copies = copies_last(parts)
    for split, part in parts.items():
        write_images(partial / f"{split}_images.npy", part, arrivals.channels, arrivals.shape)
        np.save(partial / f"{split}_labels.npy", part.labels)
        np.save(partial / f"{split}_names.npy", part.names)
        if origins.number_of is not None:
            numbers = [origins.number_of(name.decode()) for name in part.names]
            np.save(partial / f"{split}_origin.npy", np.array(numbers, dtype=np.uint8))
    arrivals.close()
    table = table_of_pairs(
        np.concatenate([part.digests for part in parts.values()]),
        [part.labels for part in parts.values()],
        [part.names for part in parts.values()],
        classes,
    )
    table.to_csv(partial / "duplicates.csv", index=False)
    counts = {
        "images": {split: len(part.labels) for split, part in parts.items()},
        "grey_converted": arrivals.grey if arrivals.channels == 3 else 0,
        "copies": len(table),
        "copies_in_test": copies,
        "passed_over": arrivals.passed_over,
        "unreadable": arrivals.unreadable,
    }
    note = {
        "made_from": asdict(recipe),
        "source": f"{description}: {_told(counts)}",
        "classes": classes,
        "origins": origins.names,
        "counts": counts,
        "sizes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
    }
    (partial / NOTE).write_text(json.dumps(note, indent=1) + "\n")


def _told(counts: dict[str, Any]) -> str:
    unreadable = counts["unreadable"]
    names = ", ".join(unreadable[:NAMED]) + (", ..." if len(unreadable) > NAMED else "")
    return (
        f"{sum(counts['images'].values()):,} images read, {counts['grey_converted']:,} converted from "
        f"grey-scale, {len(unreadable):,} unreadable left out{f' ({names})' if names else ''}, "
        f"{counts['passed_over']:,} other files passed over, {counts['copies']:,} exact copies"
    )
