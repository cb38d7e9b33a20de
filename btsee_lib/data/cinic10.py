"""CINIC-10 (Darlow 2018, arXiv 1810.03505): 270,000 images of CIFAR-10 and ImageNet at 32 x 32.

90,000 each in ``train``, ``valid`` and ``test``. The published archive is fetched and its md5 compared;
an archive or an unpacked folder of one's own is taken as it is. The name of an image's file tells where
it comes from: those of CIFAR-10 begin with ``cifar``.
"""

from collections.abc import Sequence
from pathlib import Path

from btsee_lib.data import image_folder, image_store
from btsee_lib.data.download import fetch
from btsee_lib.data.splits import Splits
from btsee_lib.disk import check_space

ARCHIVE = "CINIC-10.tar.gz"
SIZE = 687_544_992  # bytes
MD5 = "6ee4d0c996905fe93221de577967a372"
IMAGES, SIDE = 270_000, 32


def load(
    folder: Path,
    *,
    seed: int = 0,
    path: Path | None = None,
    image_size: int | None = None,
    mirrors: Sequence[str] = (),
) -> Splits:
    """Load CINIC-10, see ``load_splits``; ``seed`` decides the order within the published splits."""

    if path is not None:
        return image_folder.load(folder, seed=seed, path=path, image_size=image_size)

    archive = folder / ARCHIVE

    def bring() -> None:
        arrays_size = 2 * IMAGES * 3 * (image_size or SIDE) ** 2  # pixels as they arrive, and put in order
        fetch(mirrors, archive, SIZE, MD5, more_space=arrays_size)
        check_space(folder, arrays_size)

    return image_store.ensure(folder, archive, f"md5 {MD5}", image_size, seed, bring)
