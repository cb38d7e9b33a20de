import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from btsee_lib.data import fashion_mnist
from btsee_lib.data.fashion_mnist import DataError, ensure, read

IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def install(folder, published, compressed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in published.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
        else:
            (folder / name).write_bytes(content)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Four small files that stand for the published ones, and a machine where no other source serves."""
    contents = {name: f"content of {name}".encode() * 50 for name in fashion_mnist.MD5}
    digests = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}

    def offline(*_, **__):
        raise OSError("network is unreachable\nmore than one line")

    monkeypatch.setattr(fashion_mnist, "MD5", digests)
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", offline)
    monkeypatch.setattr(fashion_mnist, "_run", offline)
    return contents


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "fashion-mnist"


def assert_installed(folder, published):
    assert {name: (folder / name).read_bytes() for name in published} == published


def test_whole_files_are_accepted_and_left_alone(folder, published):
    install(folder, published)
    times = {name: (folder / name).stat().st_mtime_ns for name in published}
    assert "already in the data folder" in ensure(folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in published} == times


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"?", lambda content: content[:100]])
@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_an_altered_or_truncated_file_is_refused_by_name(folder, published, name, damage):
    install(folder, published)
    (folder / name).write_bytes(damage(published[name]))
    with pytest.raises(DataError, match=r"is damaged .*delete it and run again") as caught:
        ensure(folder)
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize("damage", [lambda content: content[:30], lambda _: b"not gzip at all", lambda _: b""])
def test_a_damaged_compressed_file_is_refused_by_name(folder, published, damage):
    install(folder, published, compressed=True)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="delete it and run again") as caught:
        ensure(folder)
    assert str(path) in str(caught.value)
    assert not (folder / IMAGES).exists()


def test_a_compressed_file_of_other_content_is_refused_by_name(folder, published):
    install(folder, published, compressed=True)
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match=rf"{LABELS}\.gz is damaged"):
        ensure(folder)


def test_compressed_copies_in_the_data_folder_are_unpacked(folder, published):
    install(folder, published, compressed=True)
    assert ensure(folder) == "files in the data folder"
    assert_installed(folder, published)


def test_a_mixture_of_plain_and_compressed_files_is_accepted(folder, published):
    install(folder, published)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(published[IMAGES]))
    assert ensure(folder) == "files in the data folder"
    assert_installed(folder, published)


def test_without_any_source_the_error_names_folder_files_and_each_reason(folder, published):
    with pytest.raises(DataError) as caught:
        ensure(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    assert all(name in message for name in published)
    assert all(source in message for source in fashion_mnist.SOURCES)
    assert message.count("(network is unreachable)") == 2
    assert not any((folder / name).exists() for name in published)


def test_a_missing_file_is_named_when_no_source_can_replace_it(folder, published):
    install(folder, published)
    (folder / LABELS).unlink()
    with pytest.raises(DataError, match=rf"files in the data folder \(no {LABELS} there\)"):
        ensure(folder)


def test_a_missing_file_is_fetched_from_the_next_source(folder, published):
    install(folder, published)
    (folder / LABELS).unlink()
    install(fashion_mnist.SYSTEM_FOLDER, published, compressed=True)
    assert "system folder" in ensure(folder)
    assert_installed(folder, published)


def test_a_damaged_source_is_passed_over_and_named_if_no_other_serves(folder, published, monkeypatch):
    install(fashion_mnist.SYSTEM_FOLDER, published)
    (fashion_mnist.SYSTEM_FOLDER / IMAGES).write_bytes(b"altered")
    with pytest.raises(DataError, match=rf"none of its sources served: .*{IMAGES} is damaged"):
        ensure(folder)

    def download(root, download):
        install(Path(root) / "FashionMNIST" / "raw", published)

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    assert ensure(folder) == "torchvision's download"
    assert_installed(folder, published)


def test_the_source_that_served_is_remembered(folder, published):
    install(fashion_mnist.SYSTEM_FOLDER, published, compressed=True)
    first = ensure(folder)
    for path in fashion_mnist.SYSTEM_FOLDER.iterdir():
        path.unlink()
    assert ensure(folder) == first


def test_sources_are_tried_in_order_until_one_serves(folder, published, monkeypatch):
    tried = []

    def source(name, serves):
        def fetch(scratch):
            tried.append(name)
            if serves:
                install(scratch / "here", published)
            return scratch / "here"

        return fetch

    serves = {"first": False, "second": True, "third": True}
    monkeypatch.setattr(fashion_mnist, "SOURCES", {name: source(name, yes) for name, yes in serves.items()})
    assert ensure(folder) == "second"
    assert tried == ["first", "second"]
    assert_installed(folder, published)


def test_torchvision_serves_where_nothing_is_local(folder, published, monkeypatch):
    def download(root, download):
        assert download
        install(Path(root) / "FashionMNIST" / "raw", published, compressed=True)

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    assert ensure(folder) == "torchvision's download"
    assert_installed(folder, published)


def test_the_debian_package_serves_last_with_lists_of_its_own(folder, published, monkeypatch):
    commands = []

    def run(command, scratch):
        commands.append(command)
        if command[-2:] == ["download", fashion_mnist.PACKAGE]:
            (scratch / "package.deb").touch()
        if command[0] == "dpkg":
            unpacked = scratch / "unpacked" / fashion_mnist.SYSTEM_FOLDER.relative_to("/")
            install(unpacked, published, compressed=True)

    monkeypatch.setattr(fashion_mnist, "_run", run)
    assert "unpacked without installing it" in ensure(folder)
    assert [command[0] for command in commands] == ["apt-get"] * 2 + ["dpkg"]
    assert_installed(folder, published)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError("no space left on device")])
def test_an_interrupted_write_leaves_no_final_name(folder, published, monkeypatch, stop):
    install(fashion_mnist.SYSTEM_FOLDER, published)
    write_bytes = Path.write_bytes

    def interrupted(path, content):
        if folder in path.parents and IMAGES in path.name:
            write_bytes(path, content[:40])
            raise stop
        return write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", interrupted)
        with pytest.raises((KeyboardInterrupt, DataError)):
            ensure(folder)
    assert IMAGES not in "".join(path.name for path in folder.iterdir())
    ensure(folder)
    assert_installed(folder, published)


def test_read_returns_the_published_images_and_labels(repository, splits):
    for part, number in (("train", 60_000), ("t10k", 10_000)):
        images, labels = read(repository / "data" / "fashion-mnist", part)
        assert images.shape == (number, 28, 28)
        assert images.dtype == np.uint8
        assert np.bincount(labels).tolist() == [number // 10] * 10


def test_images_lie_in_memory_as_torch_itself_would_lay_them(repository):
    """The stride of an axis of length one changes no value, but the digits of a convolution."""
    splits = fashion_mnist.load(repository / "data" / "fashion-mnist")
    for split in (splits.train, splits.valid, splits.test):
        assert split.images.stride() == torch.empty(split.images.shape, dtype=torch.uint8).stride()
