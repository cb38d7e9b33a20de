"""Find pictures in a folder or an archive, one after another, and decode them.

A picture stands in the folder of its class, and that, if the data come split, in ``train``, ``valid``
(or ``val``) or ``test``, in capitals or not. An archive is read once, from its start to its end, and
nothing is unpacked.
"""

import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from btsee_lib.data.download import reason_of
from btsee_lib.errors import DataError

SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
SUFFIXES = frozenset(".png .jpg .jpeg .bmp .gif .webp .tif .tiff .ppm .pgm".split())
GREY_MODES = frozenset(("1", "L", "LA", "La", "I;16", "I;16B", "I;16L"))
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # what needs no other program
PIECE_BYTES = 2**16


class Picture(NamedTuple):
    """A file in a folder of a class. ``split`` is empty where the data come unsplit."""

    split: str
    label: str
    name: str
    content: bytes | None  # None: this file is no picture
    above: str = ""  # where the folder of the class stands, if the data come unsplit

    @property
    def path(self) -> str:
        """Split, class and name."""
        return "/".join(filter(None, (self.split, self.label, self.name)))


def find_pictures(source: Path) -> Iterator[Picture]:
    """Yield the files of a folder, or of a tar archive of any compression, with their contents.

    Raises
    ------
    DataError
        If it is not a whole archive.
    """
    if source.is_dir():
        for place in files_of(source):
            yield _picture(place.parts, (source / place).read_bytes)
    else:
        yield from _in_archive(source)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder, relative to it, in the order of their names."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield (Path(parent) / name).relative_to(folder)


def _in_archive(source: Path) -> Iterator[Picture]:
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile():
                    parts = [part for part in member.name.split("/") if part not in ("", ".")]
                    yield _picture(parts, archive.extractfile(member).read)
                archive.members.clear()  # the list would grow with the archive
            while archive.fileobj.read(PIECE_BYTES):
                pass  # up to the checksum of the whole, which tarfile leaves unread
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # of the disk, not of the content
        raise DataError(
            f"{source} is truncated or not a tar archive ({reason_of(problem)}): delete it and fetch it again"
        ) from None


def _picture(parts: Sequence[str], read: Callable[[], bytes]) -> Picture:
    name = Path(parts[-1])
    is_picture = name.suffix.lower() in SUFFIXES and not name.name.startswith(".")
    for position, part in enumerate(parts[:-2]):
        split = SPLIT_FOLDERS.get(part.lower())
        if split:
            within = "/".join(parts[position + 2 :])
            return Picture(split, parts[position + 1], within, read() if is_picture else None)
    if len(parts) < 2:
        return Picture("", "", parts[-1], None)  # outside the folders of the classes
    return Picture("", parts[-2], parts[-1], read() if is_picture else None, above="/".join(parts[:-2]))


def decode(source: Path, image_size: int | None, picture: Picture) -> tuple[np.ndarray, bool] | None:
    """Decode a picture to RGB.

    Parameters
    ----------
    source : what the picture was found in.
    image_size : pixels a side to which it is brought, without keeping its aspect ratio, so that nothing
        is cut off; None: as it is.

    Returns
    -------
    tuple | None
        The pixels, uint8 (3, H, W), and whether the picture is grey. None if it cannot be read.

    Raises
    ------
    DataError
        If it must not be read.
    """
    try:
        with Image.open(io.BytesIO(picture.content), formats=FORMATS) as image:
            grey = image.mode in GREY_MODES
            image = _rgb(ImageOps.exif_transpose(image) if image.format in ("JPEG", "MPO") else image)
            if image_size is not None:
                image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
            return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)), grey
    except Image.DecompressionBombError:  # by its header: nothing is decoded yet
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise DataError(f"{source}: {picture.path} claims more than {most:,} pixels: remove it") from None
    except Exception:  # Pillow raises nearly anything on a damaged file
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
