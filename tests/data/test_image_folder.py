import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_cinic10 import SPLITS, files, write_archive, write_folder

from btsee_lib.data import load_splits
from btsee_lib.errors import DataError

CLASSES = ("cat", "dog", "ship")
EACH = 6  # images of a class in a split


@pytest.fixture(scope="module")
def split():
    """Pictures in train, valid and test, with a folder a class in each."""
    return {path: content for path, content in files(EACH).items() if path.split("/")[1] in CLASSES}


@pytest.fixture(scope="module")
def unsplit(split):
    """The same pictures in a folder a class."""
    return {path.partition("/")[2]: content for path, content in split.items()}


@pytest.fixture
def load(tmp_path):
    def loaded(path, **options):
        return load_splits("folder", tmp_path / "data", path=path, **options)

    return loaded


@pytest.fixture
def refused(load, tmp_path):
    """Load what cannot be loaded, and return the message."""

    def message_of(path, **options):
        with pytest.raises(DataError) as caught:
            load(path, **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "data" / "folder" / "arrays").exists()
        return str(caught.value)

    return message_of


def pixels(content, size=None):
    image = Image.open(io.BytesIO(content))
    image = image if size is None else image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(image).transpose(2, 0, 1)


def paths_of(splits, name):
    """Path below the folder of the split for each image, as label and name tell it."""
    each = getattr(splits, name)
    labels = [splits.classes[label] for label in each.labels.tolist()]
    return [f"{label}/{file.decode()}" for label, file in zip(labels, each.names, strict=True)]


def resized(content, width, height):
    written = io.BytesIO()
    Image.open(io.BytesIO(content)).resize((width, height)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def mixed(split):
    """Every third picture is larger than the first."""
    return {
        path: resized(content, 48, 40) if number % 3 == 2 else content
        for number, (path, content) in enumerate(split.items())
    }


def test_pictures_in_train_valid_and_test_stay_there_with_their_labels(load, split, tmp_path):
    splits = load(write_folder(tmp_path / "mine", split))
    assert splits.classes == CLASSES
    for name in SPLITS:
        each, paths = getattr(splits, name), paths_of(splits, name)
        assert each.images.dtype == torch.uint8
        assert sorted(f"{name}/{path}" for path in paths) == sorted(p for p in split if p.startswith(name))
        assert np.array_equal(each.images.numpy(), [pixels(split[f"{name}/{path}"]) for path in paths])
    assert splits.source.startswith("mine (listing ")
    assert "54 images read" in splits.source


@pytest.mark.parametrize("layout", ["split", "unsplit"])
def test_an_archive_and_its_folder_give_the_same_arrays(load, request, tmp_path, layout):
    pictures = request.getfixturevalue(layout)
    of_folder = load(write_folder(tmp_path / "mine", pictures))
    of_archive = load(write_archive(tmp_path / "mine.tar.gz", pictures=pictures))
    assert of_archive.digest == of_folder.digest
    assert of_archive.source.startswith("mine.tar.gz (md5 ")
    assert of_archive.train.names.tolist() == of_folder.train.names.tolist()


def test_pictures_of_several_sizes_are_brought_to_the_size_asked_for(load, mixed, tmp_path):
    splits = load(write_folder(tmp_path / "mine", mixed), image_size=24)
    for name in SPLITS:
        expected = [pixels(mixed[f"{name}/{path}"], 24) for path in paths_of(splits, name)]
        assert np.array_equal(getattr(splits, name).images.numpy(), expected)


def test_pictures_of_several_sizes_are_refused_without_a_size(refused, load, mixed, tmp_path):
    path = write_folder(tmp_path / "mine", mixed)
    message = refused(path)
    named = next(each for each in sorted(mixed) if Image.open(io.BytesIO(mixed[each])).width == 48)
    assert f"{path}: {named} is 48 x 40 pixels, others are 32 x 32: set data.image_size" in message
    assert load(path, image_size=32).train.images.shape == (18, 3, 32, 32)


def test_pictures_have_one_channel_if_all_are_grey(load, split, tmp_path):
    grey = {path: content for path, content in files(EACH, mode="L").items() if path in split}
    splits = load(write_folder(tmp_path / "grey", grey))
    expected = [pixels(grey[f"train/{path}"]) for path in paths_of(splits, "train")]
    assert splits.train.images.shape == (18, 1, 32, 32)
    assert np.array_equal(splits.train.images.numpy(), expected)
    one_coloured = grey | dict(list(split.items())[:1])
    splits = load(write_folder(tmp_path / "coloured", one_coloured))
    assert splits.train.images.shape == (18, 3, 32, 32)
    assert "53 converted from grey-scale" in splits.source


def test_another_picture_in_the_folder_makes_the_arrays_anew_and_nothing_else_does(load, split, tmp_path):
    path = write_folder(tmp_path / "mine", split)
    arrays = tmp_path / "data" / "folder" / "arrays"
    load(path)
    made = arrays.stat().st_mtime_ns
    load(path)
    assert arrays.stat().st_mtime_ns == made
    write_folder(path, {"train/cat/more.png": next(iter(split.values()))})
    assert b"more.png" in load(path).train.names


def test_no_path_is_refused_with_the_remedy(refused):
    message = refused(None)
    assert message.startswith("data.path is not set")
    assert "params.yaml" in message


def test_a_path_where_nothing_is_is_refused(refused, tmp_path):
    assert f"{tmp_path / 'nowhere'} does not exist: correct data.path" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("fashion-mnist", "image_size", 32),
        ("cifar-100", "image_size", 32),
        ("fashion-mnist", "path", Path("x")),
    ],
)
def test_what_has_no_meaning_for_a_data_set_is_refused(tmp_path, name, option, value):
    message = f"data.{option} has no meaning for the data set '{name}': set it to null"
    with pytest.raises(DataError, match=message):
        load_splits(name, tmp_path / "data", **{option: value})
    assert list(tmp_path.iterdir()) == []
