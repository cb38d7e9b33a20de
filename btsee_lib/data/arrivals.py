"""Take pictures in: decode them in other processes and keep the pixels in a file a split.

Beside the pixels, about 150 bytes an image are held in memory: its label, name and digest.
"""

import os
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from btsee_lib.data.duplicates import DIGEST_BYTES
from btsee_lib.data.image_files import Decoded, Picture, decode, find_pictures, size_of
from btsee_lib.data.splits import DataError

BATCH = 256  # pictures decoded in one go,
BATCH_BYTES = 2**23  # or fewer, if their files or their pixels are large
MOST_UNREADABLE = 1000  # at the start, before the size of the pictures is known


@dataclass
class Shelf:
    """The images of one split as they arrive.

    ``file`` holds the pixels, uint8 (3, H, W) after one another; the rest is one entry an image.
    """

    file: BinaryIO
    labels: array = field(default_factory=lambda: array("i"))
    names: list[bytes] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)


@dataclass
class Arrivals:
    """All images in the order in which they came, on a shelf a split ("" for data that come unsplit).

    ``classes`` numbers the classes as they were met; ``shape`` is (height, width); ``class_folders``
    names where the folders of the classes stand, if data come unsplit; ``grey`` counts the images of
    one channel, ``passed_over`` the files that are no pictures, and ``unreadable`` names pictures that
    are damaged.
    """

    shape: tuple[int, int]
    shelves: dict[str, Shelf] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    class_folders: set[str] = field(default_factory=set)
    grey: int = 0
    passed_over: int = 0
    unreadable: list[str] = field(default_factory=list)

    @property
    def channels(self) -> int:
        """One if every image is grey, else three."""
        return 1 if self.grey == sum(len(shelf.labels) for shelf in self.shelves.values()) else 3

    def close(self) -> None:
        """Remove the files of the shelves."""
        for shelf in self.shelves.values():
            shelf.file.close()
            Path(shelf.file.name).unlink()


def take_in(source: Path, folder: Path, image_size: int | None) -> Arrivals:
    """Read all pictures of a folder or an archive once.

    Parameters
    ----------
    folder : of the shelves' files.
    image_size : pixels a side to which pictures are brought; None: all have one size already.

    Raises
    ------
    DataError
        If there is no picture, or one that must not be read.
    """
    pictures: Iterable[Picture] = find_pictures(source)
    if image_size is None:
        shape, pictures = _common_size(pictures, source)
    else:
        shape = (image_size, image_size)
    arrivals = Arrivals(shape)
    with tqdm(desc=f"reading {source.name}", unit=" images", leave=False) as bar:
        for batch, future in _decoded(_batches(pictures, arrivals), shape, image_size is not None):
            _shelve(batch, future.result(), arrivals, folder, source)
            bar.update(len(batch))
    for shelf in arrivals.shelves.values():
        shelf.file.flush()
    if not arrivals.shelves:
        unreadable = f", {len(arrivals.unreadable):,} that cannot be read" if arrivals.unreadable else ""
        raise DataError(
            f"{source} holds no pictures in class folders{unreadable}: "
            f"put them into train/, valid/ and test/ with a folder a class, or into a folder a class"
        )
    return arrivals


def _common_size(pictures: Iterable[Picture], source: Path) -> tuple[tuple[int, int], Iterable[Picture]]:
    """Take the size of the first picture that can be read for that of all."""
    pictures, seen = iter(pictures), []
    for picture in pictures:
        seen.append(picture)
        size = picture.content and size_of(picture.content)
        if size:
            return size, chain(seen, pictures)
        if len(seen) == MOST_UNREADABLE:
            raise DataError(
                f"{source}: none of its first {len(seen):,} files can be read as a picture: check it"
            )
    return (1, 1), seen


def _batches(pictures: Iterable[Picture], arrivals: Arrivals) -> Iterator[list[Picture]]:
    most = max(1, min(BATCH, BATCH_BYTES // (3 * arrivals.shape[0] * arrivals.shape[1])))
    batch, size = [], 0
    for picture in pictures:
        if picture.content is None:
            arrivals.passed_over += 1
            continue
        batch.append(picture)
        size += len(picture.content)
        if len(batch) == most or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decoded(
    batches: Iterable[list[Picture]], shape: tuple[int, int], resize: bool
) -> Iterator[tuple[list[Picture], Future[Decoded]]]:
    """Decode batches in as many processes as there are processors, a few ahead of the one yielded."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting = deque()
    with ProcessPoolExecutor(workers) as pool:
        for batch in batches:
            contents = [picture.content for picture in batch]
            # Only the names are kept here: the contents are on their way to the other process.
            named = [picture._replace(content=None) for picture in batch]
            waiting.append((named, pool.submit(decode, contents, shape, resize)))
            if len(waiting) > 2 * workers:
                yield waiting.popleft()
        yield from waiting


def _shelve(batch: list[Picture], decoded: Decoded, arrivals: Arrivals, folder: Path, source: Path) -> None:
    if decoded.refused is not None:
        position, reason = decoded.refused
        raise DataError(f"{source}: {_full_name(batch[position])} {reason}")
    arrivals.grey += sum(decoded.grey)
    number = 0
    for picture, readable in zip(batch, decoded.readable, strict=True):
        if not readable:
            arrivals.unreadable.append(_full_name(picture))
            continue
        if picture.split not in arrivals.shelves:
            arrivals.shelves[picture.split] = Shelf((folder / f"{picture.split}.raw").open("w+b"))
        shelf = arrivals.shelves[picture.split]
        shelf.file.write(decoded.pixels[number])
        shelf.digests += decoded.digests[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)]
        shelf.labels.append(arrivals.classes.setdefault(picture.label, len(arrivals.classes)))
        shelf.names.append(picture.name.encode())
        if not picture.split:
            arrivals.class_folders.add(picture.above)
        number += 1


def _full_name(picture: Picture) -> str:
    return "/".join(filter(None, (picture.split, picture.label, picture.name)))
