"""Find pictures in a folder or an archive, one after another, and decode them in batches.

A picture stands in the folder of its class, and that, if the data come split, in ``train``, ``valid``
(or ``val``) or ``test``, in capitals or not. An archive is read as a stream, once, and nothing is
unpacked.
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from btsee_lib.data.duplicates import digest_of
from btsee_lib.data.splits import DataError

SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
SUFFIXES = frozenset(".png .jpg .jpeg .bmp .gif .webp .tif .tiff .ppm .pgm".split())
GREY_MODES = frozenset(("1", "L", "LA", "La", "I;16", "I;16B", "I;16L"))
MOST_PIXELS = 2**26  # of one picture; a small file that claims more is an attack or a mistake
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # what needs no other program
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by a file's first bytes
STREAM_BYTES = 2**16


class Picture(NamedTuple):
    """A file in a folder of a class. ``split`` is empty where the data come unsplit."""

    split: str
    label: str
    name: str
    content: bytes | None  # None: this file is no picture
    above: str = ""  # where the folder of the class stands, if the data come unsplit


class Decoded(NamedTuple):
    """A batch of pictures as pixels, and what was met.

    ``pixels`` uint8 (n, 3, H, W) and ``digests`` (16 bytes each) of those that could be read;
    ``readable``, ``grey``: a bool a picture; ``refused``: position of the first picture that must not be
    read at all, and why.
    """

    pixels: np.ndarray
    readable: list[bool]
    grey: list[bool]
    digests: bytes
    refused: tuple[int, str] | None


def find_pictures(source: Path) -> Iterator[Picture]:
    """Yield the files of a folder, or of a tar archive of any compression, with their contents.

    Raises
    ------
    DataError
        If there is no such file, or it is not a whole archive.
    """
    if source.is_dir():
        yield from _in_folder(source)
    elif source.is_file():
        yield from _in_archive(source)
    else:
        raise DataError(f"{source} does not exist: correct data.path in params.yaml")


def _in_folder(source: Path) -> Iterator[Picture]:
    for place in files_of(source):
        parts = place.parts
        content = (source / place).read_bytes() if _is_picture(parts[-1]) else None
        yield _picture(parts, content)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder, relative to it, in the order of their names."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield (Path(parent) / name).relative_to(folder)


def _in_archive(source: Path) -> Iterator[Picture]:
    try:
        # Decompressed outside of tarfile, which does not compare the checksum at the end of a stream.
        with (
            _decompressed(source) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=STREAM_BYTES) as archive,
        ):
            for member in archive:
                if member.isfile():
                    parts = [part for part in member.name.split("/") if part not in ("", ".")]
                    # Straight from the stream: a file object a member would take a quarter more time.
                    content = archive.fileobj.read(member.size) if _is_picture(parts[-1]) else None
                    if content is not None and len(content) < member.size:
                        raise EOFError("unexpected end of data")
                    yield _picture(parts, content)
                archive.members.clear()  # the list would grow with the archive
            while stream.read(STREAM_BYTES):
                pass
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # of the disk, not of the content
        raise DataError(
            f"{source} is truncated or not a tar archive ({problem}): delete it and fetch it again"
        ) from None


def _decompressed(source: Path) -> BinaryIO:
    with source.open("rb") as file:
        start = file.read(2)
    return COMPRESSIONS.get(start, open)(source, "rb")


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")  # noqa: PTH122


def _picture(parts: Sequence[str], content: bytes | None) -> Picture:
    for position, part in enumerate(parts[:-2]):
        split = SPLIT_FOLDERS.get(part.lower())
        if split:
            return Picture(split, parts[position + 1], "/".join(parts[position + 2 :]), content)
    if len(parts) < 2:
        return Picture("", "", parts[-1], None)  # outside the folders of the classes
    return Picture("", parts[-2], parts[-1], content, above="/".join(parts[:-2]))


class _RefusedError(Exception):
    """This picture must not be read, and reading stops; the message says why."""


def size_of(content: bytes) -> tuple[int, int] | None:
    """Height and width of a picture as it is to be seen, None if it cannot be read."""
    try:
        with _open(content) as image:
            width, height = _upright(image).size
            return height, width
    except _RefusedError:
        return 1, 1  # ``decode`` tells the reason
    except Exception:
        return None


def decode(contents: Sequence[bytes], shape: tuple[int, int], resize: bool) -> Decoded:
    """Decode pictures to RGB of one shape (height, width).

    Parameters
    ----------
    resize : bring pictures of another size to ``shape``, without keeping their aspect ratio, so that
        nothing is cut off; or else refuse them.
    """
    planes, readable, grey = [], [], []
    with warnings.catch_warnings(action="ignore"):  # of Pillow, on pictures that it reads all the same
        for position, content in enumerate(contents):
            try:
                plane, is_grey = _decode_one(content, shape, resize)
            except _RefusedError as problem:
                return Decoded(np.empty((0, 3, *shape), np.uint8), [], [], b"", (position, str(problem)))
            except Exception:  # Pillow raises nearly anything on a damaged file
                plane, is_grey = b"", False
            planes.append(plane)
            readable.append(bool(plane))
            grey.append(is_grey)
    pixels = np.frombuffer(b"".join(planes), dtype=np.uint8).reshape(-1, *shape, 3)
    pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return Decoded(pixels, readable, grey, b"".join(digest_of(image) for image in pixels), None)


def _decode_one(content: bytes, shape: tuple[int, int], resize: bool) -> tuple[bytes, bool]:
    with _open(content) as image:
        grey = image.mode in GREY_MODES
        image = _rgb(_upright(image))
        if image.size != (shape[1], shape[0]):
            if not resize:
                raise _RefusedError(
                    f"is {image.width} x {image.height} pixels, others are {shape[1]} x {shape[0]}: "
                    f"set data.image_size in params.yaml, to bring all to one size"
                )
            image = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        return image.tobytes(), grey


def _open(content: bytes) -> Image.Image:
    """Read the header alone: what it claims is checked before anything is decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _RefusedError(f"claims more than {MOST_PIXELS:,} pixels: remove it") from None
    if image.width * image.height > MOST_PIXELS:
        claim = f"{image.width} x {image.height} pixels, more than {MOST_PIXELS:,}"
        raise _RefusedError(f"claims {claim}: remove it")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Turn a photograph that is stored lying on its side."""
    return ImageOps.exif_transpose(image) if image.format in ("JPEG", "MPO") else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
