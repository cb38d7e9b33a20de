"""Find, fetch and verify the four files of Fashion-MNIST (Xiao 2017, arXiv 1708.07747).

Four sources are tried in order, and each file is checked by the md5 of its *uncompressed* bytes,
so a re-compressed copy is as good as the original. A file with its final name is whole.
"""

import gzip
import hashlib
import socket
import subprocess
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from btsee_lib.data.download import reason_of
from btsee_lib.data.splits import Splits, split_published
from btsee_lib.errors import DataError

MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CLASSES = tuple("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(","))
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"


def load(folder: Path, *, seed: int = 0) -> Splits:
    """Load the data set; ``seed`` decides which of the published training images become ``valid``."""
    source = ensure(folder)
    parts = [read(folder, part) for part in ("train", "t10k")]
    # Reshaped, not indexed with None: the stride of the new axis decides how a convolution is computed.
    train, test = ((images.reshape(-1, 1, 28, 28), labels) for images, labels in parts)
    return split_published(train, test, CLASSES, source, seed)


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the part "train" or "t10k": images uint8 (N, 28, 28) and labels uint8 (N,)."""
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", dtype=np.uint8, offset=16)
    labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", dtype=np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels


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
    for path in _files_in(folder).values():
        verify(path)  # a damaged file of the reader's own is not passed over in silence
    note = folder / "SOURCE.txt"
    if all((folder / name).is_file() for name in MD5):
        return note.read_text().strip() if note.is_file() else "files that were already in the data folder"
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source, find in SOURCES.items():
        try:
            with TemporaryDirectory(dir=folder) as scratch:
                _install(find(Path(scratch)) or folder, Path(scratch), folder)
            note.write_text(source + "\n")
            return source
        except Exception as problem:  # whatever it is: the next source may serve
            failures.append(f"{source} ({reason_of(problem)})")
    raise DataError(
        f"Fashion-MNIST is not in {folder} and none of its sources served: {'; '.join(failures)}. "
        f"Connect to a network, or put the four files ({', '.join(MD5)}; .gz is fine) into that folder."
    )


def verify(path: Path) -> bytes:
    """Return the uncompressed bytes of ``path`` if they are the published ones.

    Raises
    ------
    DataError
        If the file is truncated or altered.
    """
    expected = MD5[path.name.removesuffix(".gz")]
    content = path.read_bytes()
    if path.suffix == ".gz":
        with suppress(EOFError, zlib.error, gzip.BadGzipFile):  # left as it is, it has another md5
            content = gzip.decompress(content)
    found = hashlib.md5(content).hexdigest()
    if found != expected:
        raise DataError(f"{path} is damaged (md5 {found}, expected {expected}): delete it and run again")
    return content


def _files_in(folder: Path) -> dict[str, Path]:
    """The files that are there, plain or else compressed, by their names."""
    candidates = ((name, folder / f"{name}{suffix}") for name in MD5 for suffix in (".gz", ""))
    return {name: path for name, path in candidates if path.is_file()}


def _install(source: Path, scratch: Path, folder: Path) -> None:
    found = _files_in(source)
    if missing := [name for name in MD5 if name not in found]:
        raise FileNotFoundError(f"no {missing[0]} there")
    for name, path in found.items():
        (scratch / name).write_bytes(verify(path))
        (scratch / name).replace(folder / name)


def _from_torchvision(scratch: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # it takes seconds

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        FashionMNIST(scratch, download=True)
    finally:
        socket.setdefaulttimeout(timeout)
    return scratch / "FashionMNIST" / "raw"


def _from_debian_package(scratch: Path) -> Path:
    """Download and unpack the package without installing it: with lists of its own, this needs no root."""
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    apt_get = ["apt-get", "-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User=root"]
    for command in ([*apt_get, "update"], [*apt_get, "download", PACKAGE]):
        _run(command, scratch)
    _run(["dpkg", "-x", str(next(scratch.glob("*.deb"))), "unpacked"], scratch)
    return scratch / "unpacked" / SYSTEM_FOLDER.relative_to("/")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{command[0]} failed: {lines[-1]}")


# Each takes a folder for scratch and returns the folder where the files now are, None for the data folder.
SOURCES: dict[str, Callable[[Path], Path | None]] = {
    "files in the data folder": lambda _: None,
    f"the system folder of Debian's package {PACKAGE}": lambda _: SYSTEM_FOLDER,
    "torchvision's download": _from_torchvision,
    f"Debian's package {PACKAGE}, unpacked without installing it": _from_debian_package,
}
