"""Any pictures in class folders, in a folder or a tar archive, as a data set.

Either ``train/ valid/ test/`` with a folder a class in each, or just a folder a class, which is split.
Classes are named by their folders. Pictures become grey (one channel) if all of them are, else RGB.
"""

from pathlib import Path

from btsee_lib.data import image_store
from btsee_lib.data.splits import Splits
from btsee_lib.errors import DataError


def load(folder: Path, *, seed: int = 0, path: Path | None = None, image_size: int | None = None) -> Splits:
    """Load pictures, see ``load_splits``; ``seed`` decides the order and how unsplit data are split."""
    if path is None:
        raise DataError("data.path is not set: name the folder or archive of your pictures in params.yaml")
    return image_store.ensure(folder, path, image_store.identity_of(path), image_size, seed)
