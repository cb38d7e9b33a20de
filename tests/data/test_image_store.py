import errno
import json

import numpy as np
import pytest
import torch
from small_cinic10 import CLASSES, SPLITS, files, write_archive, write_folder

from btsee_lib.data import image_store
from btsee_lib.data.image_store import NOTE, ensure, is_current, place_of
from btsee_lib.errors import DataError

RECIPE = {"identity": "of the test", "image_size": None, "seed": 0}


@pytest.fixture(scope="module")
def pictures():
    return files(images_a_class=6)


@pytest.fixture(scope="module")
def archive(pictures, tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("stored") / "small.tar.gz", pictures=pictures)


@pytest.fixture(scope="module")
def stored(archive):
    """Where the arrays of the archive lie."""
    ensure(archive.parent, archive, **RECIPE)
    return place_of(archive.parent, archive, RECIPE["image_size"], RECIPE["seed"])


@pytest.fixture
def made(tmp_path):
    """Where ``make`` puts the arrays."""
    return place_of(tmp_path / "data", tmp_path / "made", RECIPE["image_size"], RECIPE["seed"])


@pytest.fixture
def make(tmp_path):
    """Store pictures of a folder, anew under each name."""

    def stored_from(pictures, name="made", **changes):
        source = write_folder(tmp_path / name, pictures)
        return ensure(tmp_path / "data", source, **(RECIPE | changes))

    return stored_from


def must_not_be_called():
    raise AssertionError("read again")


def test_stored_arrays_are_mapped_and_not_made_again(stored, archive):
    splits = ensure(archive.parent, archive, **RECIPE, fetch=must_not_be_called)
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


def test_the_order_is_shuffled_by_the_seed(archive, make, pictures):
    first = ensure(archive.parent, archive, **RECIPE)
    other = make(pictures, seed=1)
    assert len(set(first.train.labels[:15].tolist())) > 5
    assert first.train.names.tolist() != other.train.names.tolist()
    assert sorted(first.train.names) == sorted(other.train.names)


@pytest.mark.parametrize("changes", [{"identity": "other"}, {"image_size": 16}, {"seed": 1}, {"version": 0}])
def test_arrays_of_another_recipe_are_not_taken_for_these(stored, changes):
    known = RECIPE | {"version": image_store.VERSION}
    assert is_current(stored, known)
    assert not is_current(stored, known | changes)


@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", NOTE])
@pytest.mark.parametrize("damage", [lambda content: content[:-2], lambda _: b"", lambda _: None])
def test_damaged_or_missing_arrays_are_made_again(make, made, pictures, file, damage):
    few = {path: content for path, content in pictures.items() if "/cat/" in path or "/dog/" in path}
    digest = make(few).digest
    path = made / file
    spoilt = damage(path.read_bytes())
    path.unlink() if spoilt is None else path.write_bytes(spoilt)
    assert not is_current(made, RECIPE | {"version": image_store.VERSION})
    assert make(few).digest == digest


def test_arrays_that_were_altered_at_equal_size_are_not_believed(make, made, pictures):
    digest = make(pictures).digest
    path = made / "test_labels.npy"
    labels = np.load(path)
    np.save(path, np.roll(labels, 1))
    assert not is_current(made, RECIPE | {"version": image_store.VERSION})
    assert make(pictures).digest == digest
    assert np.array_equal(np.load(path), labels)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, "full"), DataError("bad")])
def test_what_is_half_written_is_removed_and_never_taken(make, made, pictures, monkeypatch, stop):
    def stopped(*_):
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(image_store, "write_images", stopped)
        with pytest.raises((KeyboardInterrupt, DataError)) as caught:
            make(pictures)
    assert list(made.parent.iterdir()) == []
    if isinstance(stop, OSError):
        assert f"{made.name} could not be written, the disk is full" in str(caught.value)
    assert len(make(pictures).train) == 60


def test_the_note_counts_and_names_what_was_met(make, made, pictures):
    names = [path for path in pictures if path.startswith("test/ship")]
    spoilt = pictures | dict.fromkeys(names[:4], b"damaged") | {"test/ship/list.txt": b"?"}
    splits = make(spoilt)
    counts = json.loads((made / NOTE).read_text())["counts"]
    assert counts["unreadable"] == sorted(names[:4])
    assert counts["passed_over"] == 1
    assert counts["images"] == {"train": 60, "valid": 60, "test": 56}
    assert "4 unreadable left out (test/ship/" in splits.source
    assert ", ...)" in splits.source


def test_pictures_of_one_class_folder_under_two_names_are_told(make, made, pictures, tmp_path):
    assert "more than one label" not in make(pictures).source
    write_folder(tmp_path / "twice", pictures)
    for split in SPLITS:
        (tmp_path / "twice" / split / "boat").symlink_to("ship")
    splits = make({}, "twice")
    assert "boat" in splits.classes
    assert "18 pictures under more than one label" in splits.source  # six a split
