"""Generated folders and archives, damaged in many ways: each becomes correct arrays or ends in a sentence."""

import io
import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from btsee_lib.data.image_store import ensure, identity_of
from btsee_lib.errors import DataError

SIDE = 8
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
FORMS = ("PNG", "TIFF", "GIF", "JPEG", "PPM", "BMP", "WEBP")


@st.composite
def contents(draw):
    """The bytes of a picture, whole, cut off, altered or none at all."""
    image = Image.new(draw(st.sampled_from(MODES)), (SIDE, draw(st.sampled_from([SIDE, SIDE, SIDE, 5]))))
    values = tuple(draw(st.integers(0, 255)) for _ in image.getbands())
    image.putpixel((1, 1), values if len(values) > 1 else values[0])
    written = io.BytesIO()
    try:
        image.save(written, draw(st.sampled_from(FORMS)))
    except (OSError, ValueError):  # there is no such picture
        return draw(st.binary(max_size=60))
    content = bytearray(written.getvalue())
    if draw(st.integers(0, 3)) == 0:
        content[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 5)) == 0 else content)


PLACES = st.sampled_from(["cat", "dog", "train/cat", "test/dog", "val/cat", ".hidden", "@eaDir", "a/b/cat"])
NAMES = st.sampled_from(
    ["x.png", "x.JPG", "y.tif", "y.txt", ".png", "none", "z.heic", "w.gif", "caf\udce9.png"]
)
EXTRA = st.lists(st.tuples(PLACES, NAMES, contents()), max_size=6)
LINKS = st.lists(
    st.tuples(
        st.sampled_from(["fox", "cat/l.png", "cat/round", "dog/round", "valid", "wolf"]),
        st.sampled_from(["cat", "..", "/etc", "x", "fox", "wolf", "../dog", "../cat/round"]),
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
)


def write(folder, extra, links, fifo):
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for number in range(5):
            path = folder / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    for place, name, content in extra:
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / name).write_bytes(content)
    for name, target in links:
        if not (folder / name).exists():
            (folder / name).symlink_to(target)
    if fifo:
        os.mkfifo(folder / "cat/fifo.png")


def pack(folder, form, damage):
    if form == "folder":
        return folder
    target = folder.with_name(f"mine.{form}")
    if form == "zip":
        shutil.make_archive(folder, "zip", folder)
    else:
        with tarfile.open(target, "w:gz" if form == "tgz" else "w") as archive:
            archive.add(folder, "./mine")
    if damage is not None:
        content = bytearray(target.read_bytes())
        content[int(damage * (len(content) - 1))] ^= 255
        target.write_bytes(content)
    return target


inputs = given(
    extra=EXTRA,
    links=LINKS,
    fifo=st.booleans(),
    form=st.sampled_from(["folder", "tar", "tgz", "zip"]),
    damage=st.none() | st.floats(0, 1),
    size=st.sampled_from([None, SIDE]),
)


def read(extra, links, fifo, form, damage, size):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "mine")
        if form == "zip":  # which Python cannot pack with names that are no text, nor with pipes
            extra, fifo = [each for each in extra if each[1].isascii()], False
        write(folder, extra, links, fifo)
        try:
            source = pack(folder, form, damage)
            splits = ensure(Path(place, "data"), source, identity_of(source), size, seed=0)
        except DataError as problem:
            assert "\n" not in str(problem)
            assert str(problem).encode()
            return
        sets = (splits.train, splits.valid, splits.test)
        assert all(each.images.shape[1:] == (3, SIDE, SIDE) for each in sets)
        assert {"cat", "dog"} <= set(splits.classes)
        for name in (f"{number}.png".encode() for number in range(5)):
            assert sum(int((each.names == name).sum()) for each in sets) >= 2  # of both classes


@settings(max_examples=20)
@inputs
def test_whatever_comes_ends_in_a_sentence_or_in_correct_arrays(**drawn):
    read(**drawn)


@pytest.mark.pipeline
def test_two_hundred_damaged_inputs_end_well_within_a_minute_of_one_core():
    started = time.process_time()
    settings(max_examples=200)(inputs(read))()
    assert time.process_time() - started < 60
