import dataclasses

import numpy as np
import pytest
import torch

from btsee_lib.data import duplicates as duplicates_module
from btsee_lib.data.duplicates import counts_by_split, duplicate_table, duplicates, without_test_duplicates
from btsee_lib.data.splits import ImageSet
from btsee_lib.errors import DataError

# Which of the first real images stands where: 0, 2 and 4 in several splits, 7 twice in test.
PLACES = {"train": [0, 1, 2, 3], "valid": [4, 2, 5], "test": [7, 0, 6, 2, 7, 8, 4]}
RELABELLED = (("valid", 1), ("test", 4))


@pytest.fixture
def copied(splits):
    """Splits of real images, some of which stand there twice, and two of these under another label."""
    sets = {}
    for split, places in PLACES.items():
        labels = torch.tensor(places) % 2
        for name, position in RELABELLED:
            if name == split:
                labels[position] = 1 - labels[position]
        names = np.array([f"{split}{position}.png".encode() for position in range(len(places))])
        sets[split] = ImageSet(splits.train.images[places], labels, names)
    return dataclasses.replace(splits, **sets)


def nameless(splits):
    sets = {name: dataclasses.replace(getattr(splits, name), names=None) for name in PLACES}
    return dataclasses.replace(splits, **sets)


def test_copies_are_found_within_and_across_sets():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    labels = torch.zeros(6, dtype=torch.int64)
    first = ImageSet(images[[0, 1, 0]], labels[:3])
    second = ImageSet(images[[2, 1, 0, 3]], labels[:4])
    assert duplicates(first, second) == [(0, 2), (1, 4), (0, 5)]


def test_images_that_differ_in_one_pixel_are_no_copies():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    images[1, 0, 3, 3] = 1
    assert duplicates(ImageSet(images, torch.zeros(2, dtype=torch.int64))) == []


def test_the_table_lists_every_copy_beside_the_first_image_of_the_same_pixels(copied):
    table = duplicate_table(copied)
    where = table[["first_split", "first_position", "split", "position", "same_label"]]
    assert where.to_numpy().tolist() == [
        ["train", 2, "valid", 1, False],
        ["train", 0, "test", 1, True],
        ["train", 2, "test", 3, True],
        ["test", 0, "test", 4, False],
        ["valid", 0, "test", 6, True],
    ]
    for row in table.itertuples():
        for split, position, name, label in (
            (row.first_split, row.first_position, row.first_name, row.first_label),
            (row.split, row.position, row.name, row.label),
        ):
            assert name == f"{split}{position}.png"
            assert label == copied.classes[getattr(copied, split).labels[position]]


def test_names_are_empty_in_a_data_set_without(copied):
    known, table = duplicate_table(copied), duplicate_table(nameless(copied))
    names = ["first_name", "name"]
    assert set(table[names].to_numpy().ravel()) == {""}
    assert table.drop(columns=names).equals(known.drop(columns=names))


def test_copies_are_counted_by_where_both_images_stand_and_those_under_two_labels(copied):
    assert counts_by_split(duplicate_table(copied)).to_numpy().tolist() == [
        ["train", "train", 0, 0],
        ["train", "valid", 1, 1],
        ["train", "test", 2, 0],
        ["valid", "valid", 0, 0],
        ["valid", "test", 1, 0],
        ["test", "test", 1, 1],
    ]


def test_of_a_data_set_without_copies_the_table_is_empty_and_every_count_zero(copied):
    sets = {name: getattr(copied, name).take(slice(1)) for name in PLACES}
    table = duplicate_table(dataclasses.replace(copied, **sets))
    assert table.empty
    assert list(table.columns) == list(duplicate_table(copied).columns)
    counts = counts_by_split(table)
    assert len(counts) == 6
    assert counts[["copies", "under_two_labels"]].to_numpy().sum() == 0


def test_test_images_that_occur_before_are_left_out_and_the_rest_keeps_its_order(copied):
    left = without_test_duplicates(copied)
    assert left.test.names.tolist() == [b"test0.png", b"test2.png", b"test5.png"]
    assert torch.equal(left.test.images, copied.test.images[[0, 2, 5]])
    assert torch.equal(left.test.labels, copied.test.labels[[0, 2, 5]])
    assert duplicate_table(left)["split"].tolist() == ["valid"]
    assert (left.train, left.valid) == (copied.train, copied.valid)


def test_leaving_out_works_in_a_data_set_without_names(copied):
    left = without_test_duplicates(nameless(copied))
    assert torch.equal(left.test.images, copied.test.images[[0, 2, 5]])
    assert left.test.names is None


def test_leaving_out_all_of_a_class_is_refused_by_its_name(copied):
    sets = {"train": copied.test.take(np.array([0])), "test": copied.test.take(np.array([0, 2, 4]))}
    gone = dataclasses.replace(copied, **sets, classes=("even", "odd"))
    gone.test.labels[:] = torch.tensor([1, 0, 1])
    with pytest.raises(DataError, match="without copies test has no image of 'odd': set data"):
        without_test_duplicates(gone)


def test_copies_that_are_known_to_stand_last_are_left_out_without_a_look_at_any_image(copied, monkeypatch):
    test = copied.test.take(np.array([0, 2, 5, 1, 3, 4, 6]))
    last = dataclasses.replace(copied, test=test, copies_in_test=4)
    monkeypatch.setattr(duplicates_module, "digest_of", lambda _: pytest.fail("looked at"))
    left = without_test_duplicates(last)
    assert left.test.names.tolist() == [b"test0.png", b"test2.png", b"test5.png"]
    assert left.test.images.data_ptr() == last.test.images.data_ptr()
    again = without_test_duplicates(left)
    assert len(again.test) == 3
    assert again.test.images.data_ptr() == last.test.images.data_ptr()
