"""One pass of the frozen backbone, keeping only what the branches will ever read.

The backbone does not change, so what a branch reads of an image can be computed once. A branch's ``squeeze``
has no parameters, so what it leaves is enough: C x G x G numbers in place of C x H x W. They are
written batch by batch and read through memory maps, so memory does not grow with the number of images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from btsee_lib.branches import Conv1dBranch
from btsee_lib.compute import borrowed, fits, new_fabric
from btsee_lib.data.splits import Splits
from btsee_lib.disk import check_space
from btsee_lib.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from btsee_lib.config import FeatureParameters

SPLITS = ("train", "valid", "test")
Squeeze = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SplitFeatures:
    """What is stored of one split of N images.

    ``squeezed``: for each branch b a (N, C_b, G_b, G_b), float32 or float16; ``logits``: the backbone's,
    float32 (N, K); ``labels``: int64 (N,).
    """

    squeezed: tuple[Tensor, ...]
    logits: Tensor
    labels: Tensor

    @property
    def predicted(self) -> Tensor:
        """The backbone's own predictions, int64 (N,)."""
        return self.logits.argmax(1)

    def __len__(self) -> int:
        return len(self.labels)


Features = dict[str, SplitFeatures]  # by the name of the split


def walk_stages(
    backbone: nn.Module, images: Tensor, squeeze: Squeeze = Conv1dBranch.squeeze
) -> tuple[list[Tensor], Tensor]:
    """Walk a backbone that has ``stages``, each but the last followed by a branch.

    Parameters
    ----------
    images : normalised, float (N, C, H, W).
    squeeze : what a branch does to the feature map of its stage first.

    Returns
    -------
    What the branches read, (N, C_b, G_b, G_b) each, and the backbone's logits (N, K).
    """
    squeezed = []
    feature_map = images.contiguous(memory_format=torch.channels_last)
    for stage in backbone.stages[:-1]:
        feature_map = stage(feature_map)
        squeezed.append(squeeze(feature_map))
    return squeezed, backbone.stages[-1](feature_map)


def store_features(
    backbone: nn.Module,
    splits: Splits,
    folder: Path,
    parameters: "FeatureParameters",
    progress: Callable[[Sequence], Sequence] = iter,
    fabric: "Fabric | None" = None,
    squeeze: Squeeze = Conv1dBranch.squeeze,
) -> None:
    """Write the features of all three splits as ``.npy`` files into ``folder``.

    Parameters
    ----------
    parameters : ``dtype`` is that of the squeezed maps; the logits are float32.
    fabric : the engine; by default this process alone, in float32. Each process fills a run of rows.
    squeeze : of the branches that are to read the features.

    Raises
    ------
    DataError
        If the disk has no room for them; nothing has been written then.
    TrainingError
        If the backbone answers with something else than finite numbers, or such that ``dtype`` cannot hold.
    """
    fabric = fabric or new_fabric()
    backbone.eval()
    with borrowed(backbone):
        if fabric.is_global_zero:
            _create_files(backbone, splits, folder, parameters.dtype, squeeze)
        fabric.barrier()
        for name in progress(SPLITS):
            _fill_files(backbone, splits, name, folder, parameters.batch_size, fabric, squeeze)


def _create_files(backbone: nn.Module, splits: Splits, folder: Path, dtype: str, squeeze: Squeeze) -> None:
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        squeezed, logits = walk_stages(backbone, splits.normalise(splits.train.images[:1].to(device)), squeeze)
    kinds = [(tuple(each.shape[1:]), np.dtype(dtype)) for each in squeezed]
    kinds.append((tuple(logits.shape[1:]), np.dtype(np.float32)))
    images = sum(len(getattr(splits, name)) for name in SPLITS)
    needed = images * sum(int(np.prod(shape)) * kind.itemsize for shape, kind in kinds)
    check_space(folder, needed, "free it, or set features.dtype to float16 in params.yaml")
    for name in SPLITS:
        np.save(folder / f"{name}_labels.npy", getattr(splits, name).labels.numpy())
        for path, (shape, kind) in zip(_files(folder, name, len(squeezed)), kinds, strict=True):
            shape = (len(getattr(splits, name)), *shape)
            np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


def _fill_files(
    backbone: nn.Module,
    splits: Splits,
    name: str,
    folder: Path,
    batch_size: int,
    fabric: "Fabric",
    squeeze: Squeeze,
) -> None:
    """Write this process's rows of one split."""
    split = getattr(splits, name)
    starts = range(0, len(split), batch_size)  # whole batches, so that the digits are those of one process
    rank, processes = fabric.global_rank, fabric.world_size
    mine = starts[rank * len(starts) // processes : (rank + 1) * len(starts) // processes]
    paths = _files(folder, name, len(backbone.stages) - 1)
    # Plain writes, not a memory map: two machines may write into one page of a shared file.
    writers = [_Writer(path, mine.start) for path in paths]
    with torch.inference_mode():
        for start in mine:
            batch = split.images[start : start + batch_size].to(fabric.device)
            with fabric.autocast():
                squeezed, logits = walk_stages(backbone, splits.normalise(batch), squeeze)
            for writer, values in zip(writers, [*squeezed, logits], strict=True):
                writer.write(values)
    for writer in writers:
        writer.file.close()


class _Writer:
    """Writes rows into an existing ``.npy`` file, one after the other from a first one on."""

    def __init__(self, path: Path, first: int):
        mapped = np.load(path, mmap_mode="r")
        self.dtype, self.file = mapped.dtype, path.open("r+b")
        self.file.seek(mapped.offset + first * mapped.strides[0])

    def write(self, values: Tensor) -> None:
        with np.errstate(over="ignore"):  # told below, in a sentence
            stored = values.float().cpu().numpy().astype(self.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise TrainingError(
                f"{Path(self.file.name).name}: the backbone answers with numbers that are not finite as "
                f"{self.dtype}: train it again with a lower learning rate, or set features.dtype to float32"
            )
        self.file.write(stored.tobytes())


def _files(folder: Path, name: str, branches: int) -> list[Path]:
    return [folder / f"{name}_{part}.npy" for part in (*(f"branch{b + 1}" for b in range(branches)), "logits")]


def on_device_if_it_fits(features: Features, device: torch.device) -> Features:
    """Copy the squeezed maps of all splits to a GPU once, where they fit there; else they stay mapped."""
    if not fits(sum(each.nbytes for split in features.values() for each in split.squeezed), device):
        return features
    return {
        name: replace(split, squeezed=tuple(each.to(device) for each in split.squeezed))
        for name, split in features.items()
    }


def load_features(folder: Path) -> Features:
    """Map the stored features into memory: a dict with the keys train, valid and test."""
    return {name: _load_split(folder, name) for name in SPLITS}


def _load_split(folder: Path, name: str) -> SplitFeatures:
    # Mode "c", copy on write: nothing reaches the file, and torch accepts the array as writable.
    def mapped(file: Path) -> Tensor:
        return torch.from_numpy(np.load(file, mmap_mode="c"))

    return SplitFeatures(
        squeezed=tuple(mapped(file) for file in sorted(folder.glob(f"{name}_branch*.npy"))),
        logits=mapped(folder / f"{name}_logits.npy"),
        labels=mapped(folder / f"{name}_labels.npy"),
    )
