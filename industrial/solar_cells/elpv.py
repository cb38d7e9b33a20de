"""Solar cells under electroluminescence: the data set elpv, of real industrial inspection.

2,624 cells of 44 modules, 300 x 300 pixels, each with a defect probability of 0, 1/3, 2/3 or 1 and
the type of its module, mono- or polycrystalline (Buerhop-Lutz 2018, Deitsch 2019; CC BY-NC-SA 4.0).
The Python package ``elpv-dataset`` carries them. Which module a cell is of is not published; we
recover it from the order of the files, see ``MODULE_SIZES``, so that no module is in two splits.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from btsee_lib.data.splits import ImageSet, Splits, channel_statistics
from btsee_lib.errors import DataError

PACKAGE = "elpv_dataset"
REMEDY = "run 'pip install -r requirements-industrial.txt' in the environment, or 'make industrial'"
CLASSES = ("functional", "defective")
SIZE = 64  # pixels a side, after averaging over areas
DEFECTIVE_FROM = 0.5
"""Our choice: 1/3 counts as functional, 2/3 as defective. No cell is left out for being doubtful."""

FOLDS = 5
MODULE_SIZES = (60,) * 20 + (54,) + (60,) * 8 + (50,) + (60,) * 6 + (72,) + (60,) * 3 + (48,) + (60,) * 3
"""Cells a module, in the order of the files. Found so: the type changes at nine places, and if all
modules but four have 60 cells, these runs hold 18 mono and 26 poly modules, as published. Two of the
four are runs of their own; the 54 and the 50 lie where dark outer edges and a change of looks show it."""


@dataclass(frozen=True)
class Cells:
    """All cells: images uint8 (N, 1, 64, 64), defect probability (N,), type ("mono", "poly"), module (N,)."""

    images: torch.Tensor
    probability: np.ndarray
    type: np.ndarray
    module: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """The positions in ``CLASSES``, int64 (N,)."""
        return (self.probability > DEFECTIVE_FROM).astype(np.int64)

    @property
    def doubtful(self) -> np.ndarray:
        """Which cells the annotators were not sure of, bool (N,)."""
        return (self.probability > 0) & (self.probability < 1)

    def chosen(self, positions: np.ndarray) -> ImageSet:
        """Return the cells at these positions as a split."""
        return ImageSet(self.images[positions], torch.from_numpy(self.labels[positions]))


def read_cells(module_sizes: tuple[int, ...] = MODULE_SIZES) -> Cells:
    """Read all cells from the installed package, averaged down to 64 x 64 pixels.

    Raises
    ------
    DataError
        If the package is missing, damaged, or of another number of cells.
    """
    folder = package_folder() / "data"
    try:
        labels = pd.read_csv(folder / "labels.csv", sep=r"\s+", names=["path", "probability", "type"])
        images = np.stack([_reduced(folder / path) for path in labels["path"]])
    except (OSError, ValueError) as problem:
        raise DataError(f"{PACKAGE} is damaged ({problem}): {REMEDY}") from None
    if len(labels) != sum(module_sizes):
        raise DataError(f"{PACKAGE} holds {len(labels)} cells, {sum(module_sizes)} are expected: {REMEDY}")
    return Cells(
        images=torch.from_numpy(images).unsqueeze(1),
        probability=labels["probability"].to_numpy(),
        type=labels["type"].to_numpy(dtype=str),
        module=np.repeat(np.arange(len(module_sizes)), module_sizes),
    )


def package_folder() -> Path:
    """Return where the package with the images is installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        raise DataError(f"the package {PACKAGE} with the images of solar cells is not installed: {REMEDY}")
    return Path(found.origin).parent


def _reduced(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX))


def groups_of(cells: Cells) -> np.ndarray:
    """What may not be divided between splits, int64 (N,): modules, joined where they share an exact copy."""
    groups = cells.module.copy()
    seen: dict[bytes, int] = {}
    for position, image in enumerate(cells.images.flatten(1).numpy()):
        first = seen.setdefault(image.tobytes(), position)
        groups[groups == groups[position]] = groups[first]
    return groups


def folds_of(cells: Cells, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Deal the modules into folds, int64 (N,), with about equal shares of classes and types in each."""
    strata = np.char.add(cells.labels.astype(str), cells.type)
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(strata), dtype=np.int64)
    for number, (_, held_out) in enumerate(dealer.split(strata, strata, groups_of(cells))):
        fold[held_out] = number
    return fold


def positions_of(fold: np.ndarray, number: int, limit: int | None = None) -> dict[str, np.ndarray]:
    """Positions of the cells of each split: fold ``number`` is test, the next one valid, the others train."""
    following = (number + 1) % (fold.max() + 1)
    masks = {"test": fold == number, "valid": fold == following}
    masks["train"] = ~masks["test"] & ~masks["valid"]
    # Shuffled, because the first cells would all be of one module.
    order = np.random.default_rng(number).permutation(len(fold))
    return {name: order[mask[order]][:limit] for name, mask in masks.items()}


def split_fold(cells: Cells, fold: np.ndarray, number: int, limit: int | None = None) -> Splits:
    """Make the three splits whose test split is fold ``number``, see ``positions_of``."""
    sets = {name: cells.chosen(chosen) for name, chosen in positions_of(fold, number, limit).items()}
    mean, std = channel_statistics(sets["train"].images)
    return Splits(**sets, classes=CLASSES, mean=mean, std=std, source=f"the package {PACKAGE}")


def load(seed: int = 0, limit: int | None = None) -> Splits:
    """Load the cells as three splits that share no module: 3/5 train, 1/5 valid, 1/5 test.

    Parameters
    ----------
    seed : decides how the modules are dealt.
    limit : keep at most this many images a split (for quick trials).

    Raises
    ------
    DataError
        See ``read_cells``.
    """
    cells = read_cells()
    return split_fold(cells, folds_of(cells, seed=seed), 0, limit)
