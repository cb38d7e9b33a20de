"""CINIC-10 (Darlow 2018, arXiv 1810.03505): 270,000 images of CIFAR-10 and ImageNet at 32 x 32.

90,000 each in ``train``, ``valid`` and ``test``. The published archive is fetched and its md5 compared;
an archive or an unpacked folder of one's own is taken as it is.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from btsee_lib.data import image_store
from btsee_lib.disk import check_space
from btsee_lib.data.download import fetch, verify
from btsee_lib.data.image_store import Origins, Recipe
from btsee_lib.data.splits import Splits

ARCHIVE = "CINIC-10.tar.gz"
SIZE = 687_544_992  # bytes
MD5 = "6ee4d0c996905fe93221de577967a372"
IMAGES, SIDE = 270_000, 32
ORIGINS = Origins(("CIFAR-10", "ImageNet"), lambda name: 0 if re.match(r"cifar-?10-", name) else 1)


def load(
    folder: Path,
    *,
    seed: int = 0,
    path: Path | None = None,
    image_size: int | None = None,
    mirrors: Sequence[str] = (),
) -> Splits:
    """Load CINIC-10 from stored arrays, or from its archive, downloaded if need be.

    Parameters
    ----------
    folder : of the archive and the stored arrays.
    seed : decides the order of the images in each split, which the publisher has fixed.
    path : an archive or an unpacked folder to read instead of the published archive.
    image_size : pixels a side, if not 32.
    mirrors : addresses of the published archive, tried in this order.

    Raises
    ------
    DataError
        If the archive is damaged or not to be had, or a split lacks a class.
    """
    published = f"md5 {MD5}"
    arrays_size = 2 * IMAGES * 3 * (image_size or SIDE) ** 2  # pixels as they arrive, and put in order
    identity = published if path is None else image_store.identity_of(path)
    if identity != published and path.is_file() and path.stat().st_size == SIZE:
        verify(path, SIZE, MD5)  # of this size, any other content is a damaged copy

    def find() -> tuple[Path, str]:
        if path is not None:
            known = "as published" if identity == published else "not as published"
            return path, f"{path.resolve().name} ({identity}, {known})"
        source = fetch(mirrors, folder / ARCHIVE, SIZE, MD5, more_space=arrays_size)
        check_space(folder, arrays_size)
        return folder / ARCHIVE, f"{ARCHIVE} ({identity}, as published) from {source}"

    return image_store.ensure(folder / "arrays", Recipe(identity, image_size, seed), find, ORIGINS)
