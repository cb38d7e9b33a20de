"""End to end on a small archive of the same layout, which a server on the loopback interface serves."""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback import altered, breaks_off, honest, serving
from PIL import Image
from small_cinic10 import CLASSES, SPLITS, files, write_archive, write_folder

from btsee_lib.data import cinic10, image_store, load_splits
from btsee_lib.data.duplicates import counts_by_split, duplicate_table
from btsee_lib.errors import DataError

IMAGES_A_CLASS = 4
IMAGES = 300
ARRAYS_SIZE = 2 * IMAGES * 3 * 32 * 32


@pytest.fixture(scope="module")
def pictures():
    return files(IMAGES_A_CLASS)


@pytest.fixture(scope="module")
def content(pictures, tmp_path_factory):
    """The bytes of the archive, in which the last class and the last split come first."""
    folder = tmp_path_factory.mktemp("published")
    backwards = dict(reversed(pictures.items()))
    return write_archive(folder / cinic10.ARCHIVE, pictures=backwards).read_bytes()


@pytest.fixture(scope="module")
def digest(pictures, tmp_path_factory):
    """The digest of the arrays, from loose files."""
    folder = tmp_path_factory.mktemp("loose")
    return load_splits("cinic-10", folder / "data", path=write_folder(folder / "own", pictures)).digest


@pytest.fixture(autouse=True)
def published(content, monkeypatch):
    monkeypatch.setattr(cinic10, "SIZE", len(content))
    monkeypatch.setattr(cinic10, "MD5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cinic10, "IMAGES", IMAGES)


@pytest.fixture
def serve(content, monkeypatch):
    with serving(content, monkeypatch) as start:
        yield start


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "cinic-10"


@pytest.fixture
def load(tmp_path):
    def loaded(*servers, **options):
        mirrors = [server.address for server in servers]
        return load_splits("cinic-10", tmp_path / "data", mirrors=mirrors, **options)

    return loaded


@pytest.fixture
def refused(load, folder):
    """Load what cannot be loaded, and return the message."""

    def message_of(*servers, **options):
        with pytest.raises(DataError) as caught:
            load(*servers, **options)
        assert "\n" not in str(caught.value)
        assert not list(folder.glob("arrays*"))
        return str(caught.value)

    return message_of


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def paths_of(split, name, classes):
    """The paths in the archive that labels and names of a split tell."""
    labels = [classes[label] for label in split.labels.tolist()]
    return [f"{name}/{label}/{file.decode()}" for label, file in zip(labels, split.names, strict=True)]


def assert_rows_belong_together(split, paths, pictures):
    expected = [np.asarray(Image.open(io.BytesIO(pictures[path]))).transpose(2, 0, 1) for path in paths]
    assert np.array_equal(split.images.numpy(), expected)


def is_mapped(images, path):
    """Whether the first pixel lies in memory that stands for this file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
        if start <= images.data_ptr() < end:
            return line.endswith(str(path))
    return False


def test_the_archive_is_downloaded_and_becomes_three_splits_of_ten_classes(load, serve, pictures, folder):
    server = serve(honest)
    splits = load(server)
    assert splits.classes == tuple(sorted(CLASSES))
    for name in SPLITS:
        split = getattr(splits, name)
        assert split.images.shape == (10 * IMAGES_A_CLASS, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        paths = paths_of(split, name, splits.classes)
        assert sorted(paths) == sorted(path for path in pictures if path.startswith(f"{name}/"))
        assert_rows_belong_together(split, paths, pictures)
        assert is_mapped(split.images, *folder.glob(f"arrays-*/{name}_images.npy"))
    assert {path.suffix for path in folder.glob("arrays-*/*")} == {".npy", ".json", ".csv"}
    assert splits.source.startswith(f"{cinic10.ARCHIVE} (md5 {cinic10.MD5}): 120 images read")


def test_names_tell_the_origin(load, serve):
    names = load(serve(honest)).test.names
    assert 20 <= np.char.startswith(names, b"cifar").sum() < len(names)


def test_a_second_load_asks_no_server_and_reads_no_archive(load, serve, folder):
    server = serve(honest)
    first = load(server)
    (folder / cinic10.ARCHIVE).unlink()
    again = load(server)
    assert (again.digest, again.source) == (first.digest, first.source)
    assert server.asked == 1


def test_another_order_or_size_is_made_from_the_archive_that_is_there(load, serve):
    server = serve(honest)
    first = load(server)
    shuffled, small = load(server, seed=1), load(server, image_size=16)
    assert sorted(shuffled.train.names) == sorted(first.train.names)
    assert shuffled.train.names.tolist() != first.train.names.tolist()
    assert small.train.images.shape == (10 * IMAGES_A_CLASS, 3, 16, 16)
    assert small.train.names.tolist() == first.train.names.tolist()
    assert server.asked == 1


def test_a_mirror_that_breaks_off_or_alters_bytes_is_not_taken_but_the_next_one(load, serve, digest):
    bad, good = (serve(breaks_off), serve(altered)), serve(honest)
    assert load(*bad, good).digest == digest
    assert [server.asked for server in (*bad, good)] == [1, 1, 1]


def test_an_archive_on_the_disk_and_its_folder_give_the_same_arrays_without_a_network(
    load, serve, content, pictures, digest, tmp_path
):
    server = serve(honest)
    archive = put(tmp_path / "mine.tar.gz", content)
    unpacked = write_folder(tmp_path / "unpacked", pictures)
    of_archive = load(server, path=archive)
    assert of_archive.digest == digest
    assert of_archive.source.startswith(f"mine.tar.gz (md5 {cinic10.MD5}): ")
    of_folder = load(server, path=unpacked)
    assert of_folder.digest == digest
    assert of_folder.source.startswith("unpacked (listing ")
    assert server.asked == 0


def test_an_archive_of_other_pictures_is_taken_as_it_is(load, serve, pictures, tmp_path):
    few = {path: picture for path, picture in pictures.items() if "/frog/" in path or "/deer/" in path}
    splits = load(path=write_archive(tmp_path / "few.tar.gz", pictures=few))
    assert splits.classes == ("deer", "frog")
    assert cinic10.MD5 not in splits.source
    server = serve(honest)
    assert load(server).classes == tuple(CLASSES)  # not the arrays of the other archive
    assert server.asked == 1


def test_an_archive_of_other_content_under_the_published_name_is_refused_by_name(
    load, refused, serve, content, digest, folder
):
    path = put(folder / cinic10.ARCHIVE, content[:-1] + b"?")
    server = serve(honest)
    message = refused(server)
    assert message.startswith(f"{path} is damaged")
    assert "delete it" in message
    assert server.asked == 0
    path.unlink()
    assert load(server).digest == digest


def test_without_a_network_every_mirror_and_each_remedy_is_named(load, refused, serve, folder, digest):
    gone = serve(honest), serve(honest)
    for server in gone:
        server.close()
    message = refused(*gone)
    assert message.startswith(f"{cinic10.ARCHIVE} could not be downloaded")
    for named in (
        *(f"{server.address} ([Errno 111] Connection refused)" for server in gone),
        str(folder),
        "data.path",
    ):
        assert named in message
    assert list(folder.iterdir()) == []
    assert load(*gone, serve(honest)).digest == digest


def test_an_interruption_after_the_download_does_not_cost_the_archive(load, serve, folder, digest, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_store, "write_images", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(serve(honest))
    assert [path.name for path in folder.iterdir()] == [cinic10.ARCHIVE]
    assert load().digest == digest


@pytest.fixture
def leave(tmp_path, monkeypatch):
    """Make a disk that has so many bytes left."""
    usage = shutil.disk_usage(tmp_path)
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))


def test_too_small_a_disk_is_found_before_the_download(load, refused, serve, folder, content, leave):
    server = serve(honest)
    enough = len(content) + ARRAYS_SIZE
    for free in (1_000_000, enough - 1):
        leave(free)
        message = refused(server)
        assert (
            f"{folder} has {free // 10**6} MB of disk space left, {enough // 10**6 + 1} MB are needed"
            in message
        )
    assert list(folder.iterdir()) == []
    assert server.asked == 0
    leave(enough)
    assert len(load(server).train) == 10 * IMAGES_A_CLASS


def test_too_small_a_disk_for_the_arrays_is_found_before_the_archive_is_read(refused, folder, content, leave):
    archive = put(folder / cinic10.ARCHIVE, content)
    leave(ARRAYS_SIZE - 1)
    assert "disk space left" in refused()
    assert [path.name for path in folder.iterdir()] == [archive.name]


def test_exactly_the_test_images_that_are_copies_are_left_out_on_demand(load, folder, pictures, tmp_path):
    first = {name: next(path for path in pictures if path.startswith(name)) for name in SPLITS}
    copies = {
        "valid/ship/n1_of_train.png": pictures[first["train"]],
        "test/ship/cifar10-train-of-train.png": pictures[first["train"]],
        "test/airplane/n2_of_valid.png": pictures[first["valid"]],
        "test/truck/cifar-10-test-of-test.png": pictures[first["test"]],
    }
    everything = pictures | copies
    path = write_folder(tmp_path / "own", everything)
    whole = load(path=path)
    splits = load(path=path, drop_test_duplicates=True)

    before, after = (paths_of(each.test, "test", each.classes) for each in (whole, splits))
    left_out = set(before) - set(after)
    twice = {first["test"], "test/truck/cifar-10-test-of-test.png"}
    assert len(before) - len(after) == len(left_out) == 3
    assert left_out - twice == {"test/ship/cifar10-train-of-train.png", "test/airplane/n2_of_valid.png"}
    assert_rows_belong_together(splits.test, after, everything)
    assert is_mapped(splits.test.images, *folder.glob("arrays-*/test_images.npy"))
    for name in ("train", "valid"):
        assert torch.equal(getattr(splits, name).images, getattr(whole, name).images)

    table = duplicate_table(whole)
    assert counts_by_split(table).to_numpy().tolist() == [
        ["train", "train", 0, 0],
        ["train", "valid", 1, 1],
        ["train", "test", 1, 1],
        ["valid", "valid", 0, 0],
        ["valid", "test", 1, 0],
        ["test", "test", 1, 1],
    ]
    assert duplicate_table(splits)["split"].tolist() == ["valid"]
