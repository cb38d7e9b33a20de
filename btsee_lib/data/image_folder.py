"""Any pictures in class folders, in a folder or a tar archive, as a data set.

Either ``train/ valid/ test/`` with a folder a class in each, or just a folder a class, which is split.
Classes are named by their folders. Pictures become grey (one channel) if all of them are, else RGB.
"""

from pathlib import Path

from btsee_lib.data import image_store
from btsee_lib.data.image_store import Recipe
from btsee_lib.data.splits import DataError, Splits


def load(folder: Path, *, seed: int = 0, path: Path | None = None, image_size: int | None = None) -> Splits:
    """Load pictures from stored arrays, or from their folder or archive.

    Parameters
    ----------
    folder : of the stored arrays.
    seed : decides the order and, for data that come unsplit, the split.
    path : the folder or archive.
    image_size : pixels a side to which pictures are brought, whatever their aspect ratio: nothing is
        cut off. None: all have one size already.

    Raises
    ------
    DataError
        If there are no pictures, or not of every class in every split.
    """
    if path is None:
        raise DataError("data.path is not set: name the folder or archive of your pictures in params.yaml")
    identity = image_store.identity_of(path)
    recipe = Recipe(identity, image_size, seed)
    return image_store.ensure(folder / "arrays", recipe, lambda: (path, f"{path.resolve().name} ({identity})"))
