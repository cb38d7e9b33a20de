"""How a picture becomes pixels: the one preparation, for training and wherever a model is taken.

Needs numpy and Pillow only, so it goes where torch does not.
"""

import io
import warnings
from contextlib import nullcontext
from threading import Lock

import numpy as np
from PIL import Image, ImageOps

from btsee_lib.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # what needs no other program
GREY_MODES = frozenset(("1", "L", "LA", "I;16", "I;16B", "I;16L"))
BITS_PER_SAMPLE = 258  # a tag of TIFF
FEW_BITS = 12  # of 16: of a picture that uses no more, the upper 8 would keep 16 levels of grey at most

MOST_BYTES = 2**26  # of a file
LARGE = 25_000_000  # pixels: a picture of more takes hundreds of MB while it is decoded, so one at a time
ONE_LARGE = Lock()
STRIP = 1_000_000  # pixels that are put onto white at a time: of the whole, there would be three copies

# Goes with a model, for whoever prepares pictures by other means.
PREPARATION = {
    "frame": "the first",
    "orientation": "turned as EXIF tells, in every format",
    "bits": "the upper 8 of 16",
    "transparency": "onto white",
    "channels": "RGB, or for a model of one channel Pillow's L",
    "size": "bilinear, as Pillow does it, without keeping the aspect ratio",
}


def prepare(content: bytes, size: tuple[int, int] | None = None, channels: int = 3) -> tuple[np.ndarray, bool]:
    """Decode a picture and do what ``PREPARATION`` says.

    Parameters
    ----------
    size : (width, height) in pixels to which it is brought, nothing cut off; None: as it is.
    channels : 3 or 1.

    Returns
    -------
    tuple
        The pixels, uint8 (channels, H, W), and whether the picture is grey.

    Raises
    ------
    DataError
        If it must not be read; the message continues the name of the picture.
    Exception
        Of nearly any kind, from Pillow, if it is damaged or no picture.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(content), formats=FORMATS) as opened,
        ):
            with ONE_LARGE if opened.width * opened.height > LARGE else nullcontext():
                image = _eight_bits(opened)
                ImageOps.exif_transpose(image, in_place=True)
                grey = image.mode in GREY_MODES
                image = _onto_white(image, "L" if channels == 1 else "RGB")
                if size is not None:
                    image = image.resize(size, Image.Resampling.BILINEAR)
            return np.ascontiguousarray(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)), grey
    except Image.DecompressionBombError:  # by its header: nothing is decoded yet
        raise DataError(f"claims more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels: remove it") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale pixels of 16 bits, which Pillow would clip; others keep theirs."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise DataError("has pixels of 32 bits, whose range nobody tells: store it with 8 or 16, or remove it")
    if not image.mode.startswith("I"):
        return image
    if image.format == "TIFF" and image.tag_v2.get(BITS_PER_SAMPLE) != (16,):
        raise DataError("has pixels of neither 8 nor 16 bits: store it with one of these, or remove it")
    pixels = np.array(image)
    transparent = pixels == image.info.get("transparency", -1)
    used = int(pixels.max(where=~transparent, initial=0)).bit_length()
    if 0 < used <= FEW_BITS:
        raise DataError(
            f"has pixels of 16 bits and uses the lower {used}: scale it to all of them, or remove it"
        )
    pixels[transparent] = 0xFFFF
    upper = Image.fromarray((pixels >> 8).astype(np.uint8))
    upper.getexif().update(image.getexif())
    return upper


def _onto_white(image: Image.Image, mode: str) -> Image.Image:
    """Convert, transparency onto white; what has the mode already is not copied, as Pillow would."""
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    whole, height = Image.new(mode, image.size), max(1, STRIP // image.width)
    for top in range(0, image.height, height):
        strip = image.crop((0, top, image.width, min(top + height, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        white.alpha_composite(strip)
        whole.paste(white.convert(mode), (0, top))
    return whole
