"""Find, fetch and verify the four files of Fashion-MNIST (Xiao 2017, arXiv 1708.07747).

Four sources are tried in order, and each file is checked by the md5 of its *uncompressed* bytes,
so a re-compressed copy is as good as the original. What is fetched is first written under a
temporary name and then renamed: a file with its final name is whole.
"""

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from btsee_lib.data.splits import DataError, ImageSet, Splits, channel_statistics, stratified_split, valid_number

MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"


def ensure(folder: Path) -> str:
    """Make sure that ``folder`` holds the four verified files.

    Returns
    -------
    str
        Which source served them, now or when they were first put there.

    Raises
    ------
    DataError
        If a file under ``folder`` is damaged, or if no source could serve.
    """
    note = folder / "SOURCE.txt"
    if all((folder / name).is_file() for name in MD5):
        for name in MD5:
            verify(folder / name)
        return note.read_text().strip() if note.is_file() else "files that were already in the data folder"
    failures = []
    for source, fetch in SOURCES.items():
        try:
            with tempfile.TemporaryDirectory() as scratch:
                _install(fetch(folder, Path(scratch)), folder)
        except Exception as problem:
            if isinstance(problem, DataError) and fetch is _in_data_folder:
                raise  # a damaged file of the reader's own is not passed over in silence
            failures.append(f"{source} ({_first_line(problem)})")
            continue
        _write(note, (source + "\n").encode())
        return source
    raise DataError(
        f"Fashion-MNIST is not in {folder} and none of its sources served: {'; '.join(failures)}. "
        f"Connect to a network, or put the four files ({', '.join(MD5)}; .gz is fine) into that folder."
    )


def load(folder: Path, *, seed: int = 0) -> Splits:
    """Load the data set; ``seed`` decides which of the published training images become ``valid``."""
    source = ensure(folder)
    images, labels = read(folder, "train")
    train, valid = stratified_split(labels, valid_number(len(labels)), seed)
    train_set = _image_set(images[train], labels[train])
    mean, std = channel_statistics(train_set.images)
    return Splits(
        train=train_set,
        valid=_image_set(images[valid], labels[valid]),
        test=_image_set(*read(folder, "t10k")),
        classes=CLASSES,
        mean=mean,
        std=std,
        source=source,
    )


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the part "train" or "t10k": images uint8 (N, 28, 28) and labels uint8 (N,)."""
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", dtype=np.uint8, offset=16)
    labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", dtype=np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels


def _image_set(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1),
        labels=torch.from_numpy(labels.astype(np.int64)),
    )


def verify(path: Path) -> bytes:
    """Return the uncompressed bytes of ``path`` if they are the published ones.

    Raises
    ------
    DataError
        If the file is truncated or altered.
    """
    name = path.name.removesuffix(".gz")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path} is truncated or not gzip: delete it and run again") from None
    found = hashlib.md5(content).hexdigest()
    if found != MD5[name]:
        raise DataError(f"{path} is damaged (md5 {found}, expected {MD5[name]}): delete it and run again")
    return content


def _in_data_folder(folder: Path, scratch: Path) -> Path:
    return folder


def _in_system_folder(folder: Path, scratch: Path) -> Path:
    return SYSTEM_FOLDER


def _from_torchvision(folder: Path, scratch: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        FashionMNIST(scratch, download=True)
    finally:
        socket.setdefaulttimeout(timeout)
    return scratch / "FashionMNIST" / "raw"


def _from_debian_package(folder: Path, scratch: Path) -> Path:
    """Download and unpack the package without installing it: this needs no root."""
    if shutil.which("apt-get") is None:
        raise FileNotFoundError("apt-get is not on this machine")
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    private = ["-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User=root"]
    try:
        _run(["apt-get", "download", PACKAGE], scratch)
    except RuntimeError:  # no package lists yet: fetch private ones
        _run(["apt-get", *private, "update"], scratch)
        _run(["apt-get", *private, "download", PACKAGE], scratch)
    _run(["dpkg", "-x", str(next(scratch.glob("*.deb"))), "unpacked"], scratch)
    return scratch / "unpacked" / SYSTEM_FOLDER.relative_to("/")


SOURCES: dict[str, Callable[[Path, Path], Path]] = {
    "files in the data folder": _in_data_folder,
    f"the system folder of Debian's package {PACKAGE}": _in_system_folder,
    "torchvision's download": _from_torchvision,
    f"Debian's package {PACKAGE}, unpacked without installing it": _from_debian_package,
}


def _install(source: Path, folder: Path) -> None:
    found = {}
    for name in MD5:
        candidates = [source / name, source / f"{name}.gz"]
        found[name] = next((path for path in candidates if path.is_file()), None)
        if found[name] is None:
            raise FileNotFoundError(f"no {name} there")
    for name, path in found.items():
        _write(folder / name, verify(path))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{command[0]} failed: {lines[-1]}")


def _first_line(problem: Exception) -> str:
    text = str(problem).strip()
    return text.splitlines()[0] if text else type(problem).__name__
