import errno
import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from small_cinic10 import CLASSES, SPLITS, files, write_archive, write_folder

from btsee_lib.data import image_store
from btsee_lib.data.duplicates import duplicate_table
from btsee_lib.data.image_store import NOTE, ensure, identity_of, is_current
from btsee_lib.errors import DataError

RECIPE = {"identity": "of the test", "image_size": None, "seed": 0}


@pytest.fixture(scope="module")
def pictures():
    return files(images_a_class=6)


@pytest.fixture(scope="module")
def stored(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    archive = write_archive(folder / "small.tar.gz", pictures=pictures)
    ensure(folder / "arrays", lambda: archive, **RECIPE)
    return folder / "arrays"


@pytest.fixture
def make(tmp_path):
    """Store pictures of a folder, anew under each name."""

    def stored_from(pictures, name="made", **changes):
        source = write_folder(tmp_path / name, pictures)
        return ensure(tmp_path / f"{name}-arrays", lambda: source, **(RECIPE | changes))

    return stored_from


def must_not_be_called():
    raise AssertionError("read again")


def test_stored_arrays_are_mapped_and_not_made_again(stored):
    splits = ensure(stored, must_not_be_called, **RECIPE)
    for name in SPLITS:
        split = getattr(splits, name)
        assert split.images.shape == (60, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.labels.bincount().tolist() == [6] * 10
    assert splits.classes == tuple(CLASSES)
    assert "180 images read, 0 converted" in splits.source
    before = (stored / "train_images.npy").read_bytes()
    splits.train.images[:] = 0  # stays in memory
    assert (stored / "train_images.npy").read_bytes() == before


def test_labels_and_names_belong_to_the_images(stored, pictures):
    splits = ensure(stored, must_not_be_called, **RECIPE)
    for name in SPLITS:
        split = getattr(splits, name)
        paths = [
            f"{name}/{splits.classes[label]}/{file.decode()}"
            for label, file in zip(split.labels, split.names, strict=True)
        ]
        assert sorted(paths) == sorted(path for path in pictures if path.startswith(name))
        expected = [np.asarray(Image.open(io.BytesIO(pictures[path]))).transpose(2, 0, 1) for path in paths]
        assert np.array_equal(split.images.numpy(), expected)


def test_the_order_is_shuffled_by_the_seed(stored, make, pictures):
    first = ensure(stored, must_not_be_called, **RECIPE)
    other = make(pictures, seed=1)
    assert len(set(first.train.labels[:15].tolist())) > 5
    assert first.train.names.tolist() != other.train.names.tolist()
    assert sorted(first.train.names) == sorted(other.train.names)


def test_the_archive_and_its_folder_give_the_same_arrays(stored, make, pictures):
    assert make(pictures).digest == ensure(stored, must_not_be_called, **RECIPE).digest


@pytest.mark.parametrize("changes", [{"identity": "other"}, {"image_size": 16}, {"seed": 1}, {"version": 0}])
def test_arrays_of_another_recipe_are_not_taken_for_these(stored, changes):
    known = RECIPE | {"version": image_store.VERSION}
    assert is_current(stored, known)
    assert not is_current(stored, known | changes)


@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", NOTE])
@pytest.mark.parametrize("damage", [lambda content: content[:-2], lambda _: b"", lambda _: None])
def test_damaged_or_missing_arrays_are_made_again(make, tmp_path, pictures, file, damage):
    few = {path: content for path, content in pictures.items() if "/cat/" in path or "/dog/" in path}
    digest = make(few).digest
    path = tmp_path / "made-arrays" / file
    spoilt = damage(path.read_bytes())
    path.unlink() if spoilt is None else path.write_bytes(spoilt)
    assert not is_current(path.parent, RECIPE | {"version": image_store.VERSION})
    assert make(few).digest == digest


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, "full"), DataError("bad")])
def test_what_is_half_written_is_removed_and_never_taken(make, tmp_path, pictures, monkeypatch, stop):
    def stopped(*_):
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(image_store, "write_images", stopped)
        with pytest.raises((KeyboardInterrupt, DataError)) as caught:
            make(pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    if isinstance(stop, OSError):
        assert "made-arrays could not be written, the disk is full" in str(caught.value)
    assert len(make(pictures).train) == 60


def test_grey_pictures_are_stored_with_one_channel(make, pictures):
    splits = make(files(images_a_class=2, mode="L"))
    assert splits.train.images.shape == (20, 1, 32, 32)
    assert len(splits.mean) == 1
    assert "0 converted from grey-scale" in splits.source
    coloured = make(files(images_a_class=2) | {"train/cat/grey.png": grey_picture()}, "mixed")
    assert coloured.train.images.shape == (21, 3, 32, 32)
    assert "1 converted from grey-scale" in coloured.source


def grey_picture():
    return next(iter(files(images_a_class=1, mode="L").values()))


def test_pictures_are_brought_to_the_size_asked_for(make, pictures):
    assert make(pictures, image_size=16).valid.images.shape == (60, 3, 16, 16)


def test_the_note_counts_and_names_what_was_met(make, tmp_path, pictures):
    names = [path for path in pictures if path.startswith("test/ship")]
    spoilt = pictures | dict.fromkeys(names[:4], b"damaged") | {"test/ship/list.txt": b"?"}
    splits = make(spoilt)
    counts = json.loads((tmp_path / "made-arrays" / NOTE).read_text())["counts"]
    assert counts["unreadable"] == sorted(names[:4])
    assert counts["passed_over"] == 1
    assert counts["images"] == {"train": 60, "valid": 60, "test": 56}
    assert "4 unreadable left out (test/ship/" in splits.source
    assert ", ...)" in splits.source


def test_copies_stand_last_in_test_and_are_counted(make, pictures):
    train = [path for path in pictures if path.startswith("train/cat")]
    test = [path for path in pictures if path.startswith("test/dog")]
    leaked = {"test/cat/leaked.png": pictures[train[0]], "test/dog/mislabelled.png": pictures[train[1]]}
    twice = {"test/dog/twice.png": pictures[test[0]], "valid/cat/copy.png": pictures[train[0]]}
    splits = make(pictures | leaked | twice)
    assert splits.copies_in_test == 3
    assert "3 exact copies in test" in splits.source
    last = {name.decode() for name in splits.test.names[-3:]}
    assert {"leaked.png", "mislabelled.png"} < last
    assert last & {"twice.png", test[0].split("/")[-1]}
    table = duplicate_table(splits)
    rows = {tuple(row) for row in table[["first_split", "first_label", "split", "label", "same_label"]].values}
    assert rows == {
        ("train", "cat", "valid", "cat", True),
        ("train", "cat", "test", "cat", True),
        ("train", "cat", "test", "dog", False),
        ("test", "dog", "test", "dog", True),
    }
    assert table[table["name"] == "leaked.png"]["first_name"].item() == train[0].split("/")[-1]


def test_the_identity_of_a_folder_changes_with_any_file(tmp_path, pictures):
    folder = write_folder(tmp_path / "folder", pictures)
    path = folder / next(iter(pictures))
    known = {identity_of(folder)}
    path.write_bytes(path.read_bytes() + b"!")
    known.add(identity_of(folder))
    path.rename(path.with_name("other.png"))
    known.add(identity_of(folder))
    os.utime(path.with_name("other.png"), (1, 1))
    known.add(identity_of(folder))
    assert len(known) == 4
    assert identity_of(folder) in known
