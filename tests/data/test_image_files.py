import gzip
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from deep_colours import deep_png, deep_tiff
from PIL import Image
from small_cinic10 import files, png, write_archive, write_folder

from btsee_lib.data.image_files import Picture, decode, find_pictures
from btsee_lib.errors import DataError


@pytest.fixture(scope="module")
def pictures():
    return files(images_a_class=1)


def as_bytes(image, form="PNG", **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def placed(source):
    return [(each.split, each.label, each.name) for each in find_pictures(source)]


def test_an_archive_and_its_folder_hold_the_same_pictures(tmp_path, pictures):
    from_archive = list(find_pictures(write_archive(tmp_path / "small.tar.gz", pictures=pictures)))
    from_folder = list(find_pictures(write_folder(tmp_path / "folder", pictures)))
    assert sorted(from_archive) == sorted(from_folder)
    assert {f"{each.split}/{each.label}/{each.name}": each.content for each in from_archive} == pictures


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/cat/1.png", ("train", "cat", "1.png")),
        ("val/cat/1.png", ("valid", "cat", "1.png")),
        ("CINIC-10/valid/cat/1.png", ("valid", "cat", "1.png")),
        ("test/cat/black/1.png", ("test", "cat", "black/1.png")),
        ("Train/cat/1.png", ("train", "cat", "1.png")),
        ("cat/1.png", ("", "cat", "1.png")),
        ("pets/cat/1.png", ("", "cat", "1.png")),
        ("train/1.png", ("", "train", "1.png")),  # a class of that name
    ],
)
def test_split_and_class_are_the_folders_of_a_picture(tmp_path, path, expected):
    assert placed(write_folder(tmp_path / "folder", {path: b""})) == [expected]
    assert placed(write_archive(tmp_path / "a.tar.gz", pictures={path: b""})) == [expected]


def test_what_is_no_picture_of_a_class_comes_without_content(tmp_path):
    others = dict.fromkeys(
        ("train/cat/notes.txt", "train/cat/.hidden.png", "train/cat/Thumbs.db", "top.png"), b"x"
    )
    for source in (
        write_folder(tmp_path / "folder", others),
        write_archive(tmp_path / "a.tar.gz", pictures=others),
    ):
        assert [each.content for each in find_pictures(source)] == [None] * 4


@pytest.mark.parametrize("form", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_may_be_compressed_in_any_way(tmp_path, form):
    with tarfile.open(tmp_path / "archive", form) as archive:
        archive.add(write_folder(tmp_path / "folder", {"cat/1.png": b"1"}), arcname="pets")
    assert [(each.label, each.content) for each in find_pictures(tmp_path / "archive")] == [("cat", b"1")]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused_by_name(tmp_path, pictures, kept):
    archive = write_archive(tmp_path / "small.tar.gz", pictures=pictures)
    content = archive.read_bytes()
    for path, spoilt in ((archive, content), (tmp_path / "small.tar", gzip.decompress(content))):
        path.write_bytes(
            spoilt[: int(kept * len(spoilt))] if path == archive or kept < 0.9 else spoilt[:-20_000]
        )
        with pytest.raises(
            DataError, match=r"is truncated or not a tar or zip archive .*fetch it again"
        ) as caught:
            list(find_pictures(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_archive_with_altered_bytes_is_refused(tmp_path, pictures):
    archive = write_archive(tmp_path / "small.tar.gz", pictures=pictures)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"small\.tar\.gz is truncated or not a tar or zip archive"):
        list(find_pictures(archive))


def decoded(content, image_size=None):
    return decode(Path("mine"), image_size, Picture("train", "cat", "1.png", content))


def test_pixels_come_channels_first_and_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    found, grey = decoded(as_bytes(Image.fromarray(pixels)))
    assert np.array_equal(found, pixels.transpose(2, 0, 1))
    assert found.flags.c_contiguous
    assert not grey


def test_grey_pictures_become_three_equal_channels_and_are_told():
    grey = np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 7)
    three = Image.fromarray(grey).convert("RGB")
    for picture, expected in ((Image.fromarray(grey), True), (deep, True), (three, False)):
        found, is_grey = decoded(as_bytes(picture))
        assert is_grey == expected
        assert all(np.array_equal(channel, grey) for channel in found)


DEEP = {
    **{f"PNG of {channels}": (channels, deep_png) for channels in (2, 3, 4)},
    "TIFF": (3, deep_tiff),
    "TIFF of Motorola's order": (3, lambda pixels: deep_tiff(pixels, ">")),
}


@pytest.mark.parametrize("form", DEEP)
@pytest.mark.parametrize("most", [0, 255, 300, 4095])
def test_colours_of_which_16_levels_or_fewer_would_stay_are_refused_by_name(form, most):
    channels, write = DEEP[form]
    pixels = np.random.default_rng(0).integers(0, most, (6, 6, channels), endpoint=True)
    pixels[0, 0] = most
    pixels[..., 3:] = 0xFFFF
    told = "1.png has colours of 16 bits in the lower 12: scale them up, or remove it"
    with pytest.raises(DataError, match=told):
        decoded(write(pixels))


@pytest.mark.parametrize("form", DEEP)
@pytest.mark.parametrize("most", [4096, 65535])
def test_colours_of_16_bits_keep_their_upper_8(form, most):
    channels, write = DEEP[form]
    pixels = np.random.default_rng(0).integers(0, most, (6, 6, channels), endpoint=True)
    pixels[0, 0] = most
    if channels in (2, 4):
        pixels[..., -1] = 0xFFFF
    found, _ = decoded(write(pixels))
    colours = (pixels >> 8).transpose(2, 0, 1)
    assert np.array_equal(found, np.repeat(colours[:1], 3, 0) if channels == 2 else colours[:3])


def test_where_nothing_is_seen_colours_do_not_count():
    pixels = np.full((6, 6, 4), 1000)
    pixels[:3, :, :3] = 60_000
    pixels[..., 3] = np.where(pixels[..., 0] == 1000, 0xFFFF, 0)
    with pytest.raises(DataError, match="in the lower 12"):
        decoded(deep_png(pixels))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "1", "LA"])
def test_other_colour_modes_are_converted(mode):
    picture = Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
    assert (decoded(as_bytes(picture, "TIFF"))[0] == 255).all()


def test_what_cannot_be_read_is_told_from_what_can(pictures):
    whole = next(iter(pictures.values()))
    for broken in (whole[:40], whole[: len(whole) // 2], b"", b"no picture", whole[:60] + b"???" + whole[63:]):
        assert decoded(broken) is None
    assert decoded(whole) is not None


def test_pictures_are_brought_to_one_size_without_cutting_anything_off():
    wide = np.zeros((8, 40, 3), dtype=np.uint8)
    wide[:, :10] = 255  # the left quarter is white, and stays a quarter
    found, _ = decoded(as_bytes(Image.fromarray(wide)), 16)
    assert found.shape == (3, 16, 16)
    assert (found[..., :3] == 255).all()
    assert (found[..., 5:] == 0).all()


def test_a_photograph_that_lies_on_its_side_is_turned_upright():
    photograph = Image.new("RGB", (8, 4))
    photograph.paste((255, 255, 255), (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    found, _ = decoded(as_bytes(photograph, "JPEG", exif=exif, quality=95))
    assert found.shape == (3, 8, 4)
    assert found[:, :3].min() > 250
    assert found[:, 5:].max() < 5


def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow refuses twice as many
    bombs = as_bytes(Image.new("RGB", (11, 10))), huge_png()
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for bomb in bombs:
        with pytest.raises(DataError, match=r"^mine: train/cat/1.png claims more than 100 pixels: remove it$"):
            decoded(bomb, 8)


def huge_png():
    """A PNG of 100,000 x 100,000 pixels, by its header."""
    content = bytearray(png(np.zeros((28, 28), dtype=np.uint8)))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)
