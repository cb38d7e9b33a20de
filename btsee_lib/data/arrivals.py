"""Take pictures in: decode them in threads and lay the pixels on a shelf, a file.

Beside the pixels, about 250 bytes an image are held in memory: its split, class, name and digest.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from btsee_lib.data.duplicates import digest_of
from btsee_lib.data.image_files import Picture, decode, find_pictures
from btsee_lib.errors import DataError

BATCH = 64  # pictures in memory at a time
BATCH_BYTES = 2**26  # of their files, or one picture
UNREADABLE = "damaged, or not what its name says"


@dataclass
class Arrivals:
    """All images in the order in which they came.

    ``shelf`` holds the pixels, uint8 (3, H, W) after one another, and ``rows`` split ("" for data that come
    unsplit), class, name, digest and where the folder of the class stands; ``shape`` is (H, W), None before
    the first image; ``grey`` counts the images of one channel; ``left_out`` counts the other files by split,
    class and reason, and ``unreadable`` names damaged pictures.
    """

    shelf: BinaryIO
    rows: list[tuple[str, str, str, bytes, str]] = field(default_factory=list)
    shape: tuple[int, int] | None = None
    grey: int = 0
    left_out: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    @property
    def channels(self) -> int:
        """One if every image is grey, else three."""
        return 1 if self.grey == len(self.rows) else 3

    @property
    def passed_over(self) -> int:
        """The files that were left out for another reason than damage."""
        return self.left_out.total() - len(self.unreadable)


def take_in(source: Path, folder: Path, image_size: int | None) -> Arrivals:
    """Read all pictures of a folder or an archive once.

    Parameters
    ----------
    folder : of the shelf, a file without a name: it is gone once it is closed.
    image_size : pixels a side to which pictures are brought; None: all have one size already.

    Raises
    ------
    DataError
        If there is no picture, or one that must not be read.
    """
    arrivals = Arrivals(TemporaryFile(dir=folder))  # noqa: SIM115
    with (
        warnings.catch_warnings(action="ignore"),  # of Pillow, on pictures that it reads all the same
        ThreadPoolExecutor() as pool,
        tqdm(desc=f"reading {source.name}", unit=" images", leave=False) as bar,
    ):
        for batch in _batches(find_pictures(source)):
            decoded = pool.map(partial(decode, source, image_size), batch)
            for picture, image in zip(batch, decoded, strict=True):
                _lay_down(picture, image, arrivals, source)
            bar.update(len(batch))
    arrivals.shelf.flush()
    if not arrivals.rows:
        unreadable = f", {len(arrivals.unreadable):,} that cannot be read" if arrivals.unreadable else ""
        raise DataError(
            f"{source} holds no pictures in class folders{unreadable}: "
            f"put them into train/, valid/ and test/ with a folder a class, or into a folder a class"
        )
    return arrivals


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch, size = [], 0
    for picture in pictures:
        batch.append(picture)
        size += len(picture.content or b"")
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _lay_down(
    picture: Picture, image: tuple[np.ndarray, bool] | None, arrivals: Arrivals, source: Path
) -> None:
    if picture.content is None:
        arrivals.left_out[picture.split, picture.label, picture.why] += 1
    elif image is None:
        arrivals.left_out[picture.split, picture.label, UNREADABLE] += 1
        arrivals.unreadable.append(picture.path)
    else:
        pixels, grey = image
        height, width = pixels.shape[1:]
        arrivals.shape = arrivals.shape or (height, width)
        told = f"{source}: {picture.path} is {width} x {height} pixels"
        remedy = "set data.image_size in params.yaml, to bring all to one"
        if (height, width) != arrivals.shape:
            others = f"{arrivals.shape[1]} x {arrivals.shape[0]}"
            raise DataError(f"{told}, others are {others}: {remedy} size")
        if height != width:
            raise DataError(f"{told}, and squares are needed: {remedy}")
        arrivals.shelf.write(pixels)
        arrivals.grey += grey
        label, above = sys.intern(picture.label), sys.intern(picture.above)
        arrivals.rows.append((picture.split, label, picture.name, digest_of(pixels), above))
