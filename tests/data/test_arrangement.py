from pathlib import Path

import numpy as np
import pytest
from small_cinic10 import files, write_folder

from btsee_lib.data.arrangement import arrange
from btsee_lib.data.arrivals import take_in
from btsee_lib.errors import DataError


@pytest.fixture(scope="module")
def pictures():
    return files(images_a_class=5)


@pytest.fixture
def arranged(tmp_path):
    """Put pictures, given by their paths, in order: {split: {path of a class and a name}}."""

    def of(pictures, seed=0):
        folder = write_folder(tmp_path / "given", pictures)
        parts, classes = arrange(take_in(folder, tmp_path, None), Path("given"), seed)
        return {
            split: [f"{classes[c]}/{name}" for c, name in zip(part["label"], part["name"], strict=True)]
            for split, part in parts.items()
        }

    return of


def refused(arranged, pictures):
    with pytest.raises(DataError) as caught:
        arranged(pictures)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unsplit(pictures):
    return {path.split("/", 1)[1]: content for path, content in pictures.items()}


def without(pictures, start):
    return {path: content for path, content in pictures.items() if not path.startswith(start)}


def test_published_splits_are_kept(arranged, pictures):
    found = arranged(pictures)
    everything = sorted(f"{split}/{path}" for split, paths in found.items() for path in paths)
    assert everything == sorted(pictures)


def test_pictures_that_come_unsplit_are_split_60_20_20_by_class_and_seed(arranged, pictures):
    found = arranged(unsplit(pictures))
    assert {split: len(paths) for split, paths in found.items()} == {"train": 90, "valid": 30, "test": 30}
    assert sorted(path for paths in found.values() for path in paths) == sorted(unsplit(pictures))
    for paths, number in zip(found.values(), (9, 3, 3), strict=True):
        assert (
            np.unique([path.split("/")[0] for path in paths], return_counts=True)[1].tolist() == [number] * 10
        )
    assert arranged(unsplit(pictures)) == found
    assert sorted(arranged(unsplit(pictures), seed=1)["test"]) != sorted(found["test"])


def test_without_valid_a_fifth_of_train_becomes_it(arranged, pictures):
    found = arranged(without(pictures, "valid"))
    assert {split: len(paths) for split, paths in found.items()} == {"train": 40, "valid": 10, "test": 50}
    assert {f"train/{path}" for path in found["train"] + found["valid"]} == set(
        without(pictures, ("valid", "test"))
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_named(arranged, pictures, split):
    assert f"given has no pictures in {split}/" in refused(arranged, without(pictures, split))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_class_that_one_split_lacks_is_named_with_it(arranged, pictures, split):
    message = refused(arranged, without(pictures, f"{split}/frog"))
    assert f"{split}/ has no readable picture of 'frog', a class of another split" in message


def test_one_class_alone_is_refused(arranged, pictures):
    cats = {path: content for path, content in pictures.items() if "/cat/" in path}
    assert "one class alone ('cat')" in refused(arranged, cats)


def test_a_class_too_small_to_be_split_is_named_with_its_number(arranged, pictures):
    few = unsplit(pictures)
    for path in [path for path in few if path.startswith("ship")][4:]:
        del few[path]
    assert "the class 'ship' has 4 readable pictures, too few to be split" in refused(arranged, few)


def test_pictures_outside_the_splits_are_passed_over(arranged, pictures):
    assert arranged(pictures | {"extra/1.png": pictures[next(iter(pictures))]}) == arranged(pictures)


@pytest.mark.parametrize("place", ["dev/frog", "frog"])
def test_a_class_folder_beside_the_splits_is_refused_since_it_may_be_one(arranged, pictures, place):
    more = {f"{place}/1.png": pictures[next(iter(pictures))]}
    message = refused(arranged, pictures | more)
    assert f"given: the class folder '{place}' stands beside train/, valid/ and test/: move its" in message


@pytest.mark.parametrize(
    ("name", "told"), [("frog ", "'frog' and 'frog '"), ("fro\u0301g", r"'fro\u0301g' and 'fr\xf3g'")]
)
def test_classes_whose_names_look_alike_are_refused(arranged, pictures, name, told):
    alike = unsplit(pictures)
    if name != "frog ":
        alike = {path.replace("frog/", "fr\xf3g/"): content for path, content in alike.items()}
    alike |= {path.replace("cat/", f"{name}/"): content for path, content in alike.items() if "cat" in path}
    assert f"given: the classes {told} look alike: give them other names" in refused(arranged, alike)


def test_class_folders_in_several_places_are_refused_since_their_classes_would_be_guessed(arranged, pictures):
    content = list(unsplit(pictures).values())[:12]
    places = ("cat/in", "dog/out")
    nested = {f"{place}/{number}.png": each for number, each in enumerate(content) for place in places}
    assert "given: pictures stand in class folders in 'cat' and in 'dog': put all" in refused(arranged, nested)


def test_class_folders_may_stand_in_one_folder_of_any_depth(arranged, pictures):
    below = {f"some/folder/{path}": content for path, content in unsplit(pictures).items()}
    classes = {path.split("/")[0] for path in unsplit(pictures)}
    assert arranged(below) == arranged(below | {"some/notes.txt": b""})
    assert {path.split("/")[0] for path in arranged(below)["train"]} == classes
