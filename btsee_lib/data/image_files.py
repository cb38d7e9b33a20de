"""Find pictures in a folder or an archive, one after another, and decode them.

A picture stands in the folder of its class, and that, if the data come split, in ``train``, ``valid``
(or ``val``, ``validation``) or ``test``, in capitals or not.
"""

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from btsee_lib.data.preparation import FEW_BITS, FORMATS, MOST_BYTES, ONE_LARGE, prepare
from btsee_lib.data.sources import LEADS_OUT, contents_of
from btsee_lib.errors import DataError

SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
SUFFIXES = ".png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm".split()
NOTES = ".txt .xml .json .csv .tsv .yaml .yml .md .html .log .py .ipynb .mat .db .ini".split()
NO_PICTURE = "no picture by its name"
OUTSIDE = "outside the class folders"
HIDDEN = "hidden by the dot before its name"
OTHER_KIND = "of a kind that is not read"
TOO_LARGE = f"over {MOST_BYTES // 2**20} MB"


class Picture(NamedTuple):
    """A file in a folder of a class. ``split`` is empty where the data come unsplit."""

    split: str
    label: str
    name: str
    content: bytes | None  # None: this file was not read
    above: str = ""  # the folder in which the folder of the class stands
    why: str = ""  # it was not read

    @property
    def path(self) -> str:
        """Split, class and name."""
        return "/".join(filter(None, (self.split, self.label, self.name)))


def find_pictures(source: Path) -> Iterator[Picture]:
    """Yield the files of a folder or an archive, with the contents of those that are pictures by their names.

    Raises
    ------
    DataError
        If it cannot be read, see ``contents_of``, or a link in the place of a folder leads out of it.
    """
    for name, content, why in contents_of(source, _why_not):
        if why == LEADS_OUT and _why_not(name, 0) == OTHER_KIND:
            raise DataError(
                f"{source}: {name} is a link that leads out of it or nowhere: put files there, or remove it"
            )
        yield _placed(name.split("/"), content, why)


def _why_not(name: str, size: int) -> str:
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    is_hidden = path.name.startswith(".")
    if suffix in NOTES or (is_hidden and suffix not in SUFFIXES):
        return NO_PICTURE
    if is_hidden:
        return HIDDEN
    if ".." in path.parts:
        return LEADS_OUT
    if suffix not in SUFFIXES:
        return OTHER_KIND
    return TOO_LARGE if size > MOST_BYTES else ""


def _placed(parts: list[str], content: bytes | None, why: str) -> Picture:
    for position, part in enumerate(parts[:-2]):
        split = SPLIT_FOLDERS.get(part.lower())
        if split:
            above, within = "/".join(parts[: position + 1]), "/".join(parts[position + 2 :])
            return Picture(split, parts[position + 1], within, content, above, why)
    if len(parts) < 2:
        return Picture("", "", parts[-1], None, why=why or OUTSIDE)
    return Picture("", parts[-2], parts[-1], content, "/".join(parts[:-2]), why)


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
    place = f"{source}: {picture.path}"
    try:
        prepared = prepare(picture.content, None if image_size is None else (image_size, image_size))
        _check_bits(picture.content)
        return prepared
    except DataError as problem:
        raise DataError(f"{place} {problem}") from None
    except MemoryError:
        raise DataError(f"{place} does not fit into memory: store it smaller or close other programs") from None
    except Exception:  # Pillow raises nearly anything on a damaged file
        return None


def _check_bits(content: bytes) -> None:
    """Refuse colours of 16 bits of which the upper ones are not used, as ``prepare`` does with grey."""
    if content[24:25] != b"\x10" and content[:2] not in (b"II", b"MM"):  # the bits of PNG; TIFF
        return
    with ONE_LARGE, Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if ";16" in str(image.tile) and not image.mode.startswith("I"):
            shown = image.getchannel("A") if "A" in image.getbands() else None
            colours = np.reshape(image.histogram(shown), (-1, 256))[:3]  # of their upper 8 bits
            if colours.any(0).nonzero()[0].max(initial=0) < 2 ** (FEW_BITS - 8):
                raise DataError(f"has colours of 16 bits in the lower {FEW_BITS}: scale them up, or remove it")
