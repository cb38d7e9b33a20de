"""One pass of the frozen backbone, keeping only what the branches will ever read.

The backbone does not change, so what a branch reads of an image can be computed once. Strip pooling
has no parameters, so the strips are enough: C x (H + W) numbers in place of C x H x W. They are
written straight into memory-mapped files, so memory does not grow with the number of images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from btsee_lib.backbone import StagedResNet18
from btsee_lib.data import Splits

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SplitFeatures:
    """What is stored of one split of N images.

    ``squeezed``: for each branch b a float32 (N, C_b, L_b); ``logits``: the backbone's, float32
    (N, K); ``labels``: int64 (N,).
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


def strip_pool(feature_map: Tensor) -> Tensor:
    """Average a square map over its width and over its height, and lay the two strips end to end.

    Parameters
    ----------
    feature_map : float (N, C, H, W) with H = W.

    Returns
    -------
    Tensor
        (N, C, H + W): first a value for each row, then one for each column. After strip pooling
        (Hou 2020, arXiv 2003.13328); how the paper feeds its 1-D convolutions is not published.
    """
    if feature_map.ndim != 4 or feature_map.shape[2] != feature_map.shape[3]:
        raise ValueError(f"strip pooling expects a map (N, C, H, W) with H = W, not {tuple(feature_map.shape)}")
    return torch.cat([feature_map.mean(3), feature_map.mean(2)], dim=2)


def walk_stages(backbone: StagedResNet18, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the strips after each stage but the last, and the logits, for normalised images."""
    squeezed = []
    feature_map = images.contiguous(memory_format=torch.channels_last)
    for stage in backbone.stages[:-1]:
        feature_map = stage(feature_map)
        squeezed.append(strip_pool(feature_map))
    return squeezed, backbone.stages[-1](feature_map)


def store_features(
    backbone: StagedResNet18,
    splits: Splits,
    folder: Path,
    batch_size: int,
    progress: Callable[[Sequence], Sequence] = iter,
) -> None:
    """Write the features of all three splits as ``.npy`` files into ``folder``."""
    device = next(backbone.parameters()).device
    backbone.eval()
    for name in progress(SPLITS):
        split = getattr(splits, name)
        np.save(folder / f"{name}_labels.npy", split.labels.numpy())
        files: list[np.memmap] = []
        with torch.inference_mode():
            for start in range(0, len(split), batch_size):
                batch = split.images[start : start + batch_size].to(device)
                squeezed, logits = walk_stages(backbone, splits.normalise(batch))
                files = files or _open_files(folder, name, len(split), [*squeezed, logits])
                for file, values in zip(files, [*squeezed, logits], strict=True):
                    file[start : start + len(batch)] = values.cpu().numpy()
        for file in files:
            file.flush()


def load_features(folder: Path) -> dict[str, SplitFeatures]:
    """Map the stored features into memory: a dict with the keys train, valid and test."""
    return {name: _load_split(folder, name) for name in SPLITS}


def _open_files(folder: Path, name: str, number: int, examples: list[Tensor]) -> list[np.memmap]:
    names = [f"{name}_branch{b}" for b in range(1, len(examples))] + [f"{name}_logits"]
    return [
        np.lib.format.open_memmap(
            folder / f"{file}.npy", mode="w+", dtype=np.float32, shape=(number, *example.shape[1:])
        )
        for file, example in zip(names, examples, strict=True)
    ]


def _load_split(folder: Path, name: str) -> SplitFeatures:
    # Mode "c", copy on write: nothing reaches the file, and torch accepts the array as writable.
    def mapped(file: Path) -> Tensor:
        return torch.from_numpy(np.load(file, mmap_mode="c"))

    return SplitFeatures(
        squeezed=tuple(mapped(file) for file in sorted(folder.glob(f"{name}_branch*.npy"))),
        logits=mapped(folder / f"{name}_logits.npy"),
        labels=mapped(folder / f"{name}_labels.npy"),
    )
