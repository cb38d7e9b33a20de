import gzip
import io
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image
from small_cinic10 import files, png, write_archive, write_folder

from btsee_lib.data import image_files
from btsee_lib.data.image_files import decode, find_pictures, size_of
from btsee_lib.data.splits import DataError


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
        with pytest.raises(DataError, match=r"is truncated or not a tar archive .*fetch it again") as caught:
            list(find_pictures(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_archive_with_altered_bytes_is_refused(tmp_path, pictures):
    archive = write_archive(tmp_path / "small.tar.gz", pictures=pictures)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"small\.tar\.gz is truncated or not a tar archive"):
        list(find_pictures(archive))


def test_a_path_that_does_not_exist_is_named_with_its_parameter(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist: correct data\.path"):
        list(find_pictures(tmp_path / "nowhere"))


def test_pixels_come_channels_first_and_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    found = decode([as_bytes(Image.fromarray(each)) for each in pixels], (6, 5), resize=False)
    assert np.array_equal(found.pixels, pixels.transpose(0, 3, 1, 2))
    assert found.readable == [True] * 3
    assert found.grey == [False] * 3
    assert len(found.digests) == 3 * 16


def test_grey_pictures_become_three_equal_channels_and_are_counted():
    grey = np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 7)
    contents = [as_bytes(Image.fromarray(grey)), as_bytes(deep), as_bytes(Image.fromarray(grey).convert("RGB"))]
    found = decode(contents, (6, 6), resize=False)
    assert found.grey == [True, True, False]
    assert all(np.array_equal(channel, grey) for image in found.pixels for channel in image)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "1", "LA"])
def test_other_colour_modes_are_converted(mode):
    picture = Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
    found = decode([as_bytes(picture, "TIFF")], (4, 4), resize=False)
    assert found.readable == [True]
    assert (found.pixels == 255).all()


def test_unreadable_pictures_are_told_by_position_and_kept_out(pictures):
    whole = next(iter(pictures.values()))
    broken = [whole[:40], whole[: len(whole) // 2], b"", b"no picture", whole[:60] + b"???" + whole[63:]]
    found = decode([whole, *broken, whole], (32, 32), resize=False)
    assert found.readable == [True, False, False, False, False, False, True]
    assert len(found.pixels) == 2
    assert [size_of(each) for each in (whole, b"no picture")] == [(32, 32), None]


def test_pictures_are_brought_to_one_size_without_cutting_anything_off():
    wide = np.zeros((8, 40, 3), dtype=np.uint8)
    wide[:, :10] = 255  # the left quarter is white, and stays a quarter
    found = decode([as_bytes(Image.fromarray(wide))], (16, 16), resize=True)
    assert found.pixels.shape == (1, 3, 16, 16)
    assert (found.pixels[..., :3] == 255).all()
    assert (found.pixels[..., 5:] == 0).all()


def test_a_picture_of_another_size_is_refused_with_both_sizes_if_none_is_asked_for():
    contents = [as_bytes(Image.new("RGB", size)) for size in ((8, 8), (9, 8))]
    position, reason = decode(contents, (8, 8), resize=False).refused
    assert position == 1
    assert reason.startswith("is 9 x 8 pixels, others are 8 x 8: set data.image_size")


def test_a_photograph_that_lies_on_its_side_is_turned_upright():
    photograph = Image.new("RGB", (8, 4))
    photograph.paste((255, 255, 255), (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    content = as_bytes(photograph, "JPEG", exif=exif, quality=95)
    assert size_of(content) == (8, 4)
    found = decode([content], (8, 4), resize=False)
    assert found.pixels[0, :, :3].min() > 250
    assert found.pixels[0, :, 5:].max() < 5


def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(image_files, "MOST_PIXELS", 100)
    content, huge = as_bytes(Image.new("RGB", (11, 10))), huge_png()
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for bomb, claim in ((content, "11 x 10 pixels, more than 100"), (huge, "more than 100 pixels")):
        position, reason = decode([bomb], (8, 8), resize=True).refused
        assert position == 0
        assert claim in reason


def huge_png():
    """A PNG of 100,000 x 100,000 pixels, by its header; Pillow itself refuses to open it."""
    content = bytearray(png(np.zeros((28, 28), dtype=np.uint8)))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)
