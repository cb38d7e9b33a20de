import re

import numpy as np
import pytest
import torch

from btsee_lib.data import fashion_mnist, load_splits
from btsee_lib.data.sets import DATA_SETS
from btsee_lib.data.splits import channel_statistics, stratified_split
from btsee_lib.errors import DataError


@pytest.fixture(scope="module")
def all_splits(repository):
    return load_splits("fashion-mnist", repository / "data")


def test_the_splits_have_their_sizes_and_types(all_splits):
    for split, number in ((all_splits.train, 50_000), (all_splits.valid, 10_000), (all_splits.test, 10_000)):
        assert split.images.shape == (number, 1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert len(split) == number
    assert len(all_splits.classes) == 10


def test_every_split_holds_every_class_equally_often(all_splits):
    for split in (all_splits.train, all_splits.valid, all_splits.test):
        assert split.labels.bincount().tolist() == [len(split) // 10] * 10


def test_train_and_valid_are_the_published_training_images_and_test_the_published_test(all_splits, repository):
    folder = repository / "data" / "fashion-mnist"
    train, train_labels = fashion_mnist.read(folder, "train")
    order = np.concatenate(stratified_split(train_labels, 10_000, seed=0))
    both = torch.cat([all_splits.train.images, all_splits.valid.images])
    assert np.array_equal(both[:, 0].numpy(), train[order])
    test, test_labels = fashion_mnist.read(folder, "t10k")
    assert np.array_equal(all_splits.test.images[:, 0].numpy(), test)
    assert np.array_equal(all_splits.test.labels.numpy(), test_labels)


def test_the_split_is_disjoint_and_complete():
    labels = np.random.default_rng(0).integers(0, 3, 200)
    train, valid = stratified_split(labels, 50, seed=0)
    assert len(valid) == 50
    assert sorted([*train, *valid]) == list(range(200))


def test_the_split_keeps_the_shares_of_unequal_classes():
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    train, valid = stratified_split(labels, 50, seed=3)
    assert np.bincount(labels[valid]).tolist() == [25, 15, 10]
    assert np.bincount(labels[train]).tolist() == [75, 45, 30]


def test_the_split_is_decided_by_the_seed():
    labels = np.repeat(np.arange(10), 20)
    first, again, other = (stratified_split(labels, 50, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert sorted(first) != sorted(other)


def test_a_limit_keeps_the_first_images_of_each_split(splits, all_splits):
    for name in ("train", "valid", "test"):
        small, whole = getattr(splits, name), getattr(all_splits, name)
        assert len(small) == 1000
        assert torch.equal(small.images, whole.images[:1000])
        assert torch.equal(small.labels, whole.labels[:1000])


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=f"unknown data set 'mnist': use one of {', '.join(DATA_SETS)}"):
        load_splits("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", 0),
        ("image_size", -3),
        ("image_size", (8, 8)),
        ("limit", 0),
        ("limit", -1),
        ("seed", -1),
        ("seed", "a"),
        ("seed", None),
    ],
)
def test_a_number_that_is_none_is_refused_before_anything_is_read(tmp_path, key, value):
    least = 0 if key == "seed" else 1
    sentence = f"data.{key} is {value!r}: give a whole number, at least {least}"
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_splits("folder", tmp_path, path=tmp_path, **{key: value})


def test_a_path_may_be_text_and_nothing_else(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}/away does not exist: correct data"):
        load_splits("folder", tmp_path, path=str(tmp_path / "away"))
    for wrong in ("", 5):
        with pytest.raises(DataError, match=f"data.path is {wrong!r}: name a folder or an archive"):
            load_splits("folder", tmp_path, path=wrong)


def test_channel_statistics_are_those_of_numpy():
    images = torch.randint(0, 256, (40, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = channel_statistics(images)
    scaled = images.numpy() / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 2, 3)), abs=1e-12)
    assert std == pytest.approx(scaled.std(axis=(0, 2, 3)), abs=1e-12)


def test_normalised_training_images_have_zero_mean_and_unit_spread(splits):
    normal = splits.normalise(splits.train.images)
    assert normal.dtype == torch.float32
    assert float(normal.mean()) == pytest.approx(0, abs=1e-4)
    assert float(normal.std()) == pytest.approx(1, abs=1e-4)


def test_the_statistics_come_from_train_alone(splits):
    assert (splits.mean, splits.std) == channel_statistics(splits.train.images)
    assert splits.mean != channel_statistics(splits.test.images)[0]
