"""Generated folders and archives, damaged in many ways: each becomes correct arrays or ends in a sentence."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from deep_colours import deep_png, deep_tiff
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from btsee_lib.data.image_files import Picture, decode
from btsee_lib.data.image_store import ensure, identity_of
from btsee_lib.errors import DataError

SIDE = 8
LABELS, PICTURES = ("cat", "dog"), 8  # of a class; three may be lost before it is too small
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
FORMS = ("PNG", "TIFF", "GIF", "JPEG", "PPM", "BMP", "WEBP")


@st.composite
def deep_colours(draw):
    """The bytes of a picture with 16 bits a colour, of which few or all are used."""
    channels = draw(st.integers(2, 4))
    pixels = np.full((SIDE, SIDE, channels), draw(st.integers(0, 16)))
    pixels[1, 1] = draw(st.sampled_from([200, 1023, 4095, 4096, 65535]))
    return deep_tiff(pixels[..., :3]) if channels == 3 and draw(st.booleans()) else deep_png(pixels)


@st.composite
def plain_pictures(draw):
    """The bytes of a picture of any mode and form, or of none where there is no such picture."""
    image = Image.new(draw(st.sampled_from(MODES)), (SIDE, draw(st.sampled_from([SIDE] * 7 + [5]))))
    values = tuple(draw(st.integers(0, 255)) for _ in image.getbands())
    image.putpixel((1, 1), values if len(values) > 1 else values[0])
    written = io.BytesIO()
    try:
        image.save(written, draw(st.sampled_from(FORMS)))
    except (OSError, ValueError):
        return draw(st.binary(max_size=60))
    return written.getvalue()


@st.composite
def contents(draw):
    """The bytes of a picture, whole, cut off, altered or none at all."""
    content = bytearray(draw(st.one_of(plain_pictures(), plain_pictures(), deep_colours())))
    if content and draw(st.integers(0, 3)) == 0:
        content[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 5)) == 0 else content)


PLACES = st.sampled_from(
    ["cat", "dog", "cat", "dog", "train/cat", "test/dog", "val/cat", ".hidden", "@eaDir", "a/b/cat"]
)
NAMES = st.sampled_from(
    ["x.png", "x.JPG", "y.tif", "y.txt", ".png", "none", "z.heic", "w.gif", "caf\udce9.png"]
)
EXTRA = st.lists(st.tuples(PLACES, NAMES, contents()), max_size=3)
LINKS = st.lists(
    st.tuples(
        st.sampled_from(["fox", "cat/l.png", "cat/round", "dog/round", "valid", "wolf"]),
        st.sampled_from(["cat", "..", "/etc", "x", "fox", "wolf", "../dog", "../cat/round"]),
    ),
    max_size=2,
    unique_by=lambda pair: pair[0],
)
DAMAGE = st.tuples(st.sampled_from(["anywhere", "header", "zeros", "cut"]), st.floats(0, 1))


def write(folder, extra, links, fifo):
    """Write a folder of pictures; returns the pixels that may be read under each name of a file."""
    generator, pixels = np.random.default_rng(0), defaultdict(list)
    for label in LABELS:
        for number in range(PICTURES):
            path = folder / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(drawn).save(path)
            pixels[path.name].append(drawn.transpose(2, 0, 1))
    for place, name, content in extra:
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / name).write_bytes(content)
    for place, name, content in extra:
        with suppress(DataError, TypeError):  # it is not to be read
            pixels[name].append(decode(folder, SIDE, Picture("", place, name, content))[0])
    for name, target in links:
        if not (folder / name).exists():
            (folder / name).symlink_to(target)
    if fifo:
        os.mkfifo(folder / "cat/fifo.png")
    return pixels


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
        kind, place = damage
        content = bytearray(target.read_bytes())
        if kind == "anywhere" or form != "tar":
            content[int(place * (len(content) - 1))] ^= 255
        else:
            with tarfile.open(target) as archive:
                starts = [member.offset for member in archive]
            start = starts[int(place * (len(starts) - 1))]
            if kind == "header":
                content[start + int(place * 1e6) % 512] ^= 255
            elif kind == "zeros":
                content[start : start + 512] = bytes(512)
            else:
                del content[start + 512 * (int(place * 1e6) % 3) :]
        target.write_bytes(content)
    return target


inputs = given(
    extra=EXTRA,
    links=LINKS,
    fifo=st.booleans(),
    form=st.sampled_from(["folder", "tar", "tar", "tgz", "zip"]),
    damage=st.none() | DAMAGE,
    size=st.sampled_from([None, SIDE]),
)
ENDS = Counter()  # how examples ended


def read(extra, links, fifo, form, damage, size):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "mine")
        if form == "zip":  # which Python cannot pack with names that are no text, nor with pipes
            extra, fifo = [each for each in extra if each[1].isascii()], False
        pixels = write(folder, extra, links, fifo)
        try:
            source = pack(folder, form, damage)
            splits = ensure(Path(place, "data"), source, identity_of(source), size, seed=0)
        except DataError as problem:
            assert "\n" not in str(problem)
            assert str(problem).encode()
            ENDS["sentence"] += 1
            return
        ENDS["arrays"] += 1
        right, others = Counter(), 0
        for each in (splits.train, splits.valid, splits.test):
            assert each.images.shape[1:] == (3, SIDE, SIDE)
            for image, label, name in zip(each.images.numpy(), each.labels, each.names, strict=True):
                name = name.decode().rpartition("/")[2]
                if any(np.array_equal(image, candidate) for candidate in pixels[name]):
                    right[splits.classes[label], name] += 1
                else:
                    others += 1
        expected = {(label, f"{number}.png") for label in LABELS for number in range(PICTURES)}
        # A byte of a picture in an archive without checksums may be another, and then that picture is.
        allowed = int(form == "tar" and damage is not None and damage[0] == "anywhere")
        assert others <= allowed
        assert len(expected - right.keys()) <= allowed


@settings(max_examples=20)
@inputs
def test_whatever_comes_ends_in_a_sentence_or_in_correct_arrays(**drawn):
    read(**drawn)


@pytest.mark.pipeline
def test_two_hundred_damaged_inputs_end_within_a_minute_and_in_little_memory(repository):
    paths = os.pathsep.join(str(path) for path in (repository, repository / "tests"))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, megabytes, arrays, sentences = map(float, done.stdout.split())
    assert seconds < 60
    assert megabytes < 500
    assert arrays > 40 < sentences


if __name__ == "__main__":
    settings(max_examples=200, deadline=None, derandomize=True, database=None)(inputs(read))()
    # That of getrusage would be the parent's, if that has more.
    (peak,) = re.findall(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    megabytes = int(peak) / 1024
    print(time.process_time(), megabytes, ENDS["arrays"], ENDS["sentence"])
