import dataclasses

import numpy as np
import pytest
import torch

from btsee_lib.data import splits as module
from btsee_lib.data.splits import ImageSet, channel_statistics, chunks, split_published
from btsee_lib.errors import DataError


@pytest.fixture
def few(splits):
    return dataclasses.replace(splits, train=splits.train.take(slice(50)), valid=splits.valid.take(slice(20)))


def test_the_digest_is_the_same_for_the_same_images_labels_and_statistics(few):
    assert dataclasses.replace(few, source="elsewhere").digest == few.digest
    assert dataclasses.replace(few, mean=(0.0,)).digest != few.digest
    assert dataclasses.replace(few, std=(1.0,)).digest != few.digest
    assert len(few.digest) == 16
    assert int(few.digest, 16) >= 0


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_one_pixel_or_one_label_changes_the_digest(few, name):
    split = getattr(few, name)
    images, labels = split.images.clone(), split.labels.clone()
    images[-1, 0, 5, 5] ^= 1
    labels[0] = (labels[0] + 1) % 10
    for changed in (ImageSet(images, split.labels), ImageSet(split.images, labels)):
        assert dataclasses.replace(few, **{name: changed}).digest != few.digest


def test_the_digest_tells_in_which_split_and_shape_the_images_are(few):
    swapped = dataclasses.replace(few, train=few.valid, valid=few.train)
    wide = ImageSet(few.train.images.view(-1, 1, 14, 56), few.train.labels)
    assert len({few.digest, swapped.digest, dataclasses.replace(few, train=wide).digest}) == 3


def test_digest_and_statistics_do_not_depend_on_the_size_of_the_pieces(few, monkeypatch):
    images = few.train.images.expand(-1, 3, -1, -1)
    before = (few.digest, channel_statistics(images))
    monkeypatch.setattr(module, "CHUNK_BYTES", 5000)
    again = dataclasses.replace(few)
    assert (again.digest, channel_statistics(images)) == before
    assert [len(piece) for piece in chunks(few.train.images)] == [6] * 8 + [2]


def test_a_slice_of_a_set_stays_in_the_mapped_file_and_keeps_what_is_known_of_each_image(splits, tmp_path):
    np.save(tmp_path / "images.npy", splits.test.images[:40].numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))
    names = np.array([f"{number}.png".encode() for number in range(40)])
    whole = ImageSet(mapped, splits.test.labels[:40], names)
    part = whole.take(slice(10, 20))
    assert part.images.data_ptr() == mapped[10:].data_ptr()
    assert part.names[0] == b"10.png"
    chosen = whole.take(np.array([3, 1]))
    assert torch.equal(chosen.images, mapped[[3, 1]])
    assert torch.equal(chosen.labels, whole.labels[[3, 1]])
    assert splits.test.take(slice(2)).names is None


def test_valid_is_cut_out_of_the_published_training_images_and_test_stays_as_it_is():
    generator = np.random.default_rng(0)
    train, test = (generator.integers(0, 256, (number, 3, 4, 5), dtype=np.uint8) for number in (100, 7))
    labels = np.repeat(np.arange(5, dtype=np.uint8), 20)
    found = split_published((train, labels), (test, labels[:7]), list("abcde"), "made up", seed=1)
    sets = (found.train, found.valid, found.test)
    assert [tuple(each.images.shape) for each in sets] == [(80, 3, 4, 5), (20, 3, 4, 5), (7, 3, 4, 5)]
    assert all(each.images.is_contiguous() and each.labels.dtype == torch.int64 for each in sets)
    assert found.valid.labels.bincount().tolist() == [4] * 5
    both = torch.cat([found.train.images, found.valid.images]).flatten(1).tolist()
    assert sorted(both) == sorted(train.reshape(100, -1).tolist())
    assert np.array_equal(found.test.images.numpy(), test)
    assert (found.mean, found.std) == channel_statistics(found.train.images)
    assert (found.classes, found.source) == (tuple("abcde"), "made up")


def test_a_channel_of_one_value_is_refused_by_its_number():
    images = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    images[:, 1] = 7
    with pytest.raises(DataError, match="channel 2 of 3 has one value"):
        channel_statistics(images)
