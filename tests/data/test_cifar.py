"""torchvision reads, verifies and downloads small batches of the published layout, from a loopback server."""

import hashlib
import io
import pickle
import tarfile
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from loopback import honest, serving
from PIL import Image
from small_cinic10 import CLASSES, files, png, write_archive, write_folder
from torchvision import datasets

from btsee_lib.data import cifar, fashion_mnist, load_splits
from btsee_lib.data.splits import channel_statistics
from btsee_lib.errors import DataError

FINE = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle".split()
COARSE = "fruit fish people animals furniture insects vehicles containers".split()
TRAIN, TEST = 10, 3  # images a class


@dataclass
class Published:
    """A data set as torchvision knows it, and its small archive."""

    name: str
    torchvision: type
    classes: list
    rows: dict  # "train" or "test": pixels (N, 3072) and labels
    files: dict  # name: content

    def unpack(self, target):
        folder = target / self.torchvision.base_folder
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return target

    def archive(self):
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w:gz") as archive:
            for name, content in self.files.items():
                member = tarfile.TarInfo(f"{self.torchvision.base_folder}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return written.getvalue()


@pytest.fixture(scope="module")
def rows(repository):
    """Real images of clothes in colour, each class equally often."""
    images, labels = fashion_mnist.read(repository / "data/fashion-mnist", "t10k")
    members = np.array([np.flatnonzero(labels == number)[: TRAIN + TEST] for number in range(10)])
    found = {}
    for split, chosen in (("train", members[:, :TRAIN].T.ravel()), ("test", members[:, TRAIN:].T.ravel())):
        pictures = [np.asarray(Image.open(io.BytesIO(png(images[member])))) for member in chosen]
        pixels = np.array(pictures).transpose(0, 3, 1, 2).reshape(len(chosen), -1)
        found[split] = np.ascontiguousarray(pixels), labels[chosen].tolist()
    return found


def batch(pixels, labels, key):
    more = {"coarse_labels": [label // 2 for label in labels]} if key == "fine_labels" else {}
    return pickle.dumps({"data": pixels, key: labels, "filenames": [f"{label}.png" for label in labels]} | more)


def cifar10(rows):
    pixels, labels = rows["train"]
    fifths = [slice(start, start + len(labels) // 5) for start in range(0, len(labels), len(labels) // 5)]
    batches = {
        f"data_batch_{number + 1}": batch(pixels[fifth], labels[fifth], "labels")
        for number, fifth in enumerate(fifths)
    }
    others = {
        "test_batch": batch(*rows["test"], "labels"),
        "batches.meta": pickle.dumps({"label_names": CLASSES}),
    }
    return Published("cifar-10", datasets.CIFAR10, CLASSES, rows, batches | others)


def cifar100(rows):
    names = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    files = {split: batch(*rows[split], "fine_labels") for split in ("train", "test")}
    return Published("cifar-100", datasets.CIFAR100, FINE, rows, files | {"meta": pickle.dumps(names)})


@pytest.fixture(params=[cifar10, cifar100])
def published(request, rows, monkeypatch):
    made = request.param(rows)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in made.files.items()}
    for names in ("train_list", "test_list"):
        known = [[name, md5[name]] for name, _ in getattr(made.torchvision, names)]
        monkeypatch.setattr(made.torchvision, names, known)
    monkeypatch.setattr(made.torchvision, "url", "http://127.0.0.1:9/archive.tar.gz")  # nobody is there
    meta = made.torchvision.meta
    monkeypatch.setattr(made.torchvision, "meta", meta | {"md5": md5[meta["filename"]]})
    return made


@pytest.fixture
def server(published, monkeypatch):
    """The only server that torchvision knows."""
    content = published.archive()
    monkeypatch.setattr(published.torchvision, "tgz_md5", hashlib.md5(content).hexdigest())
    with serving(content, monkeypatch) as start:
        started = start(honest)
        monkeypatch.setattr(published.torchvision, "url", started.address)
        yield started


def load(published, root, **options):
    return load_splits(published.name, root / "data", **options)


def refused(published, root, **options):
    with pytest.raises(DataError) as caught:
        load(published, root, **options)
    message = str(caught.value)
    assert message.startswith(f"{published.torchvision.__name__} cannot be had from ")
    assert "\n" not in message
    assert "unpack the published archive into that folder" in message
    return message


def pairs(*sets):
    images = torch.cat([each.images for each in sets]).numpy()
    labels = torch.cat([each.labels for each in sets]).tolist()
    return sorted((image.tobytes(), label) for image, label in zip(images, labels, strict=True))


def test_splits_have_their_sizes_classes_and_types(published, tmp_path):
    splits = load(published, tmp_path, path=published.unpack(tmp_path / "own"))
    for split, number in ((splits.train, 80), (splits.valid, 20), (splits.test, 30)):
        assert split.images.shape == (number, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.images.is_contiguous()
        assert split.labels.dtype == torch.int64
        assert split.labels.bincount().tolist() == [number // 10] * 10
    assert splits.classes == tuple(published.classes)
    assert (splits.mean, splits.std) == channel_statistics(splits.train.images)
    assert len(splits.mean) == 3
    assert "unpacked before" in splits.source


def test_images_keep_their_pixels_channels_first_and_their_labels(published, tmp_path):
    splits = load(published, tmp_path, path=published.unpack(tmp_path / "own"))
    pixels, labels = published.rows["test"]
    assert np.array_equal(splits.test.images.numpy(), pixels.reshape(-1, 3, 32, 32))
    assert splits.test.labels.tolist() == labels
    assert pairs(splits.train, splits.valid) == sorted(
        (row.tobytes(), label) for row, label in zip(*published.rows["train"], strict=True)
    )


def test_the_seed_decides_which_images_become_valid(published, tmp_path):
    path = published.unpack(tmp_path / "own")
    first, again, other = (load(published, tmp_path, path=path, seed=seed) for seed in (1, 1, 2))
    assert first.digest == again.digest
    assert pairs(first.valid) != pairs(other.valid)
    assert torch.equal(first.test.images, other.test.images)


def test_the_archive_is_downloaded_once(published, server, tmp_path):
    splits = load(published, tmp_path)
    assert len(splits.train) == 80
    assert "with its download" in splits.source
    asked = server.asked
    assert asked > 0
    assert load(published, tmp_path).digest == splits.digest
    assert server.asked == asked


def test_a_damaged_file_in_the_data_folder_is_replaced(published, server, tmp_path):
    folder = published.unpack(tmp_path / "data" / published.name)
    damaged = folder / published.torchvision.base_folder / published.torchvision.test_list[0][0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert len(load(published, tmp_path).test) == 30
    assert damaged.read_bytes() == published.files[damaged.name]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"?" + content[1:], None])
def test_damaged_or_missing_files_of_ones_own_are_refused_with_their_folder(published, tmp_path, damage):
    path = published.unpack(tmp_path / "own")
    for name, content in published.files.items():
        file = path / published.torchvision.base_folder / name
        file.unlink() if damage is None else file.write_bytes(damage(content))
        assert str(path) in refused(published, tmp_path, path=path)
        file.write_bytes(content)
    assert len(load(published, tmp_path, path=path).train) == 80


def test_a_path_where_nothing_is_is_refused_and_nothing_downloaded(published, server, tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist: correct data\.path"):
        load(published, tmp_path, path=tmp_path / "nowhere")
    assert server.asked == 0
    assert not (tmp_path / "nowhere").exists()


def test_without_a_network_the_reason_and_the_folder_for_the_archive_are_named(published, server, tmp_path):
    server.close()
    message = refused(published, tmp_path)
    assert "Connection refused" in message
    assert "connect to a network" in message
    folder = tmp_path / "data" / published.name
    assert f"{folder} (" in message
    published.unpack(folder)
    assert len(load(published, tmp_path).train) == 80


def test_an_altered_download_is_refused_and_not_trusted_later(published, server, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(published.torchvision, "tgz_md5", "0" * 32)
        assert "corrupted" in refused(published, tmp_path)
        assert "corrupted" in refused(published, tmp_path)
    assert len(load(published, tmp_path).train) == 80


def copy_in_files():
    """Pictures in train/CLASS/ and test/CLASS/ alone, as a copy of the published split has them."""
    return {place: content for place, content in files().items() if not place.startswith("valid")}


@pytest.mark.parametrize("write", [write_archive, write_folder], ids=["archive", "folder"])
def test_a_copy_in_picture_files_serves_with_the_published_split(write, server, tmp_path):
    pictures = copy_in_files()
    path = write(tmp_path / "copy", pictures=pictures)
    splits = load_splits("cifar-10", tmp_path / "data", path=path)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (72, 18, 90)
    assert splits.classes == tuple(CLASSES)
    assert splits.source.startswith("CIFAR10, copy in picture files: copy (")
    assert server.asked == 0


def test_the_known_copy_is_told_by_its_md5(tmp_path, monkeypatch):
    path = write_archive(tmp_path / "copy.tar.gz", pictures=copy_in_files())
    monkeypatch.setattr(cifar, "JPEG_COPY", hashlib.md5(path.read_bytes()).hexdigest())
    splits = load_splits("cifar-10", tmp_path / "data", path=path)
    assert splits.source.startswith(f"CIFAR10, JPEG copy: copy.tar.gz (md5 {cifar.JPEG_COPY})")


def test_the_copy_of_this_machine_is_the_known_one_where_it_is_at_hand(repository):
    archive = repository / "data" / "cifar-10" / "pictures.tar.xz"
    if not archive.is_file():
        pytest.skip("no copy at hand")
    assert hashlib.md5(archive.read_bytes()).hexdigest() == cifar.JPEG_COPY
