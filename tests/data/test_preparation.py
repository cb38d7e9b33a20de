import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from btsee_lib.data import preparation
from btsee_lib.data.preparation import prepare
from btsee_lib.errors import DataError

RAMP = np.linspace(0, 1, 256)


def as_bytes(image, form="PNG", **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def pgm(most):
    kind = ">u2" if most > 255 else "u1"
    return b"P5 256 1 %d\n" % most + np.round(RAMP * most).astype(kind).tobytes()


def sixteen_bits(form, **options):
    return as_bytes(Image.fromarray(np.round(RAMP * 65535).astype(np.uint16)[None]), form, **options)


@pytest.mark.parametrize(
    "content",
    [pgm(65535), pgm(1023), pgm(255), pgm(4095), sixteen_bits("PNG"), sixteen_bits("TIFF")],
    ids=["PGM 16", "PGM 10", "PGM 8", "PGM 12", "PNG 16", "TIFF 16"],
)
def test_grey_pictures_of_any_depth_keep_their_full_range(content):
    pixels, grey = prepare(content)
    assert grey
    assert abs(pixels - 255 * RAMP).max() <= 1
    assert (pixels[0] == pixels).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_whose_range_nobody_knows_are_refused(kind):
    values = np.full((4, 4), np.nan if kind is np.float32 else 7, kind)
    with pytest.raises(DataError, match="has pixels of 32 bits, whose range nobody tells: store it with 8"):
        prepare(as_bytes(Image.fromarray(values), "TIFF"))


def test_pixels_of_12_bits_are_refused():
    content = as_bytes(Image.new("I;16", (4, 4)), "TIFF")
    tag = (258).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    twelve = content.replace(tag + b"\x10", tag + b"\x0c")
    assert twelve != content
    with pytest.raises(DataError, match="neither 8 nor 16 bits"):
        prepare(twelve)


@pytest.mark.parametrize("most", [200, 1023, 4095])
def test_a_picture_of_16_bits_that_uses_few_of_them_is_refused_and_not_read_as_black(most):
    values = np.round(RAMP * most).astype(np.uint16)[None]
    told = f"has pixels of 16 bits and uses the lower {most.bit_length()}: scale it to all of them"
    for form in ("PNG", "TIFF"):
        with pytest.raises(DataError, match=told):
            prepare(as_bytes(Image.fromarray(values), form))


@pytest.mark.parametrize("most", [0, 4096])
def test_a_picture_of_16_bits_that_is_black_or_only_dark_is_read(most):
    pixels, _ = prepare(as_bytes(Image.fromarray(np.full((4, 4), most, np.uint16))))
    assert (pixels == most >> 8).all()


def logo(mode):
    """Black on transparency: its left half is to be seen."""
    image = Image.new("RGBA", (8, 8))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    return image.quantize(2) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
    "content",
    [
        *(as_bytes(logo("RGBA"), form) for form in ("PNG", "TIFF", "GIF")),
        as_bytes(logo("RGBA"), "WEBP", lossless=True),
        as_bytes(logo("LA")),
        as_bytes(logo("P")),
        as_bytes(logo("RGBA").getchannel("A").point(lambda a: 200 - a * 200 // 255), transparency=200),
        as_bytes(Image.fromarray(np.repeat([[0] * 4 + [999] * 4], 8, 0).astype(np.uint16)), transparency=999),
    ],
    ids=["PNG", "TIFF", "GIF", "WEBP", "grey", "palette", "one grey level", "one level of 16 bits"],
)
def test_transparency_goes_onto_white(content):
    pixels, _ = prepare(content)
    assert (pixels[..., :4] == 0).all()
    assert (pixels[..., 4:] == 255).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_orientation_is_applied_in_every_format(form, kind):
    pixels = np.zeros((4, 8), kind)
    pixels[:, :4] = np.iinfo(kind).max
    if kind is np.uint16 and form in ("WEBP", "JPEG"):
        pytest.skip("has no such pixels")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    found, _ = prepare(as_bytes(Image.fromarray(pixels), form, exif=exif, quality=95))
    assert found.shape == (3, 8, 4)
    assert found[:, :3].min() > 250
    assert found[:, 5:].max() < 5


def test_a_model_of_one_channel_sees_a_grey_picture_as_it_is_and_a_coloured_one_in_grey():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    pixels, _ = prepare(as_bytes(grey), (8, 8), channels=1)
    assert np.array_equal(pixels, prepare(as_bytes(grey), (8, 8))[0][:1])
    coloured, is_grey = prepare(as_bytes(Image.new("RGB", (4, 4), (255, 0, 0))), channels=1)
    assert coloured.shape == (1, 4, 4)
    assert not is_grey
    assert (coloured == 76).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_put_onto_white_strip_by_strip_has_the_pixels_of_the_whole(monkeypatch, mode, channels):
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 23, 4), dtype=np.uint8))
    content = as_bytes(drawn.quantize(20) if mode == "P" else drawn.convert(mode))
    whole, _ = prepare(content, channels=channels)
    for pixels in (1, 23 * 5, 23 * 37):
        monkeypatch.setattr(preparation, "STRIP", pixels)
        assert np.array_equal(prepare(content, channels=channels)[0], whole)


def test_a_large_picture_is_held_no_more_than_twice_transparent_or_not(repository):
    code = (
        "import io\nfrom pathlib import Path\nfrom PIL import Image\n"
        "from btsee_lib.data.preparation import prepare\n"
        "content = io.BytesIO()\nImage.new('RGBA', (6000, 6000)).save(content, 'PNG', compress_level=1)\n"
        "most = lambda: int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
        "before = most()\n"
        "prepare(content.getvalue(), (28, 28))\nprint((most() - before) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    once = 4 * 6000**2 / 2**20  # MB, of which the picture that is written has taken one already
    assert float(done.stdout) < 1.5 * once, done.stderr


def test_pillow_does_not_warn_of_a_large_picture_that_is_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow refuses twice as many
    with warnings.catch_warnings(action="error"):
        assert prepare(as_bytes(Image.new("RGB", (10, 10))))[0].shape == (3, 10, 10)


def test_it_needs_no_torch(repository):
    code = "import sys; sys.modules['torch'] = None; from btsee_lib.data.preparation import prepare"
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)
