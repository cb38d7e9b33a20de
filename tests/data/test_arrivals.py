import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_cinic10 import files, write_archive, write_folder

from btsee_lib.data import arrivals
from btsee_lib.data.arrivals import take_in
from btsee_lib.errors import DataError


@pytest.fixture(scope="module")
def pictures():
    return files(images_a_class=2)


def test_every_picture_lies_on_the_shelf_in_the_order_of_the_rows(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(arrivals, "BATCH", 7)
    found = take_in(write_archive(tmp_path / "small.tar.gz", pictures=pictures), tmp_path, None)
    assert found.shape == (32, 32)
    assert found.channels == 3
    assert [f"{split}/{label}/{name}" for split, label, name, *_ in found.rows] == list(pictures)
    found.shelf.seek(0)
    pixels = np.frombuffer(found.shelf.read(), dtype=np.uint8).reshape(60, 3, 32, 32)
    expected = [np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1) for content in pictures.values()]
    assert np.array_equal(pixels, expected)
    found.shelf.close()
    assert [path.name for path in tmp_path.iterdir()] == ["small.tar.gz"]


def test_what_is_damaged_is_named_and_what_is_no_picture_is_counted(tmp_path, pictures):
    names = list(pictures)
    spoilt = pictures | {names[3]: pictures[names[3]][:100], "train/cat/readme.txt": b"hello"}
    found = take_in(write_folder(tmp_path / "folder", spoilt), tmp_path, None)
    assert found.unreadable == [names[3]]
    assert found.passed_over == 1
    assert len(found.rows) == len(pictures) - 1


def test_grey_pictures_among_coloured_ones_are_counted_and_grey_ones_alone_need_one_channel(tmp_path, pictures):
    grey = files(images_a_class=2, mode="L")
    mixed = pictures | {name: grey[name] for name in list(grey)[:4]}
    found = take_in(write_folder(tmp_path / "mixed", mixed), tmp_path, None)
    assert (found.grey, found.channels) == (4, 3)
    found = take_in(write_folder(tmp_path / "grey", grey), tmp_path, None)
    assert (found.grey, found.channels) == (60, 1)


@pytest.mark.parametrize(
    "content", [{}, {"cat/readme.txt": b"hello"}, {"cat/1.png": b"damaged"}, {"1.png": b""}]
)
def test_a_folder_without_pictures_is_refused_with_the_layout(tmp_path, content):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder holds no pictures in class folders.*a folder a class"):
        take_in(write_folder(tmp_path / "folder", content), tmp_path, None)


def test_a_picture_that_must_not_be_read_is_named(tmp_path, pictures):
    name = next(reversed(pictures))
    with pytest.raises(DataError, match=rf"folder: {name} is 1 x 1 pixels, others are 32 x 32"):
        take_in(write_folder(tmp_path / "folder", pictures | {name: ONE_PIXEL}), tmp_path, None)


ONE_PIXEL = b"P6 1 1 255\n123"  # a picture's name does not decide how it is read


def test_a_picture_that_claims_too_many_pixels_is_refused_by_name(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    name = next(iter(pictures))
    folder = write_folder(tmp_path / "folder", {name: pictures[name]})
    with pytest.raises(DataError, match=f"folder: {name} claims more than 1,000 pixels: remove it"):
        take_in(folder, tmp_path, 32)


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    """Ten times as many pictures, 26 MB of pixels more, take at most 6 MB more."""
    few = files(images_a_class=30)
    many = {path.replace(".png", f"_{copy}.png"): few[path] for path in few for copy in range(10)}
    archives = [
        write_archive(tmp_path / f"{name}.tar.gz", pictures=pictures)
        for name, pictures in (("few", few), ("many", many))
    ]
    peaks = peaks_of_reading(archives, tmp_path)
    assert 3 * 32 * 32 * (len(many) - len(few)) > 24e6
    assert peaks[1] - peaks[0] < 6e6


def peaks_of_reading(archives, folder):
    """Bytes of memory that a process of its own has needed at most, after each archive."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from btsee_lib import disk; from btsee_lib.data import image_store\n"
        "recipe = {'identity': 'x', 'image_size': None, 'seed': 0}\n"
        "for archive in map(Path, sys.argv[2:]):\n"
        "    make = lambda to: image_store._make(to, archive, recipe)\n"
        "    disk.replace_folder(Path(sys.argv[1], f'of_{archive.name}'), make)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder, *archives], capture_output=True, text=True, check=True
    )
    return [int(peak) * (1 if sys.platform == "darwin" else 1024) for peak in done.stdout.split()]
