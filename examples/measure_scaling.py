"""Measure how time and memory grow with images and width: python examples/measure_scaling.py (five minutes).

Writes reports/measured/scaling.csv, which notebook 08 reads. Each measurement runs in a process of its own, so
that its peak of memory is its own, and reads its images from a memory-mapped file, as large data sets are read.
The networks are untrained: a step takes as long whatever the weights are. All branches see all images, which is
the most that they can see.

Counted is *anonymous* memory, which the work itself has asked for. Pages of a memory-mapped file are left out:
the system drops them when it needs the room.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import torch
from tqdm import tqdm

from btsee_lib import boosting, fitting
from btsee_lib.backbone import StagedResNet18
from btsee_lib.compute import processor, set_up_torch
from btsee_lib.config import params
from btsee_lib.data import ImageSet, Splits
from btsee_lib.evaluation import evaluate_configurations
from btsee_lib.experiment import repository_root
from btsee_lib.features import load_features, store_features
from btsee_lib.schemes import SCHEMES, Scheme
from btsee_lib.store import cost_model, load_data
from btsee_lib.training import train_backbone
from btsee_lib.trees import tree_of

IMAGES = (5000, 10000, 20000, 40000, 70000)
WIDTHS = (8, 16, 32, 64)
THREADS = 2
TRAIN_SHARE = 5 / 7  # of the images, as in the published data set; the rest are valid and test
EPOCH_PART = 10  # an epoch of training is measured on this fraction of the images: it takes longest
NOTHING_LEAVES = {"margins": [[-1.0, -0.99, -0.98, -0.97]] * 3, "bar_ceiling": 2.0}
INTERVAL = 0.005  # seconds between two looks


def anonymous_memory() -> float:
    """Megabytes of anonymous memory that this process holds now; nan where the system does not tell."""
    held = psutil.Process().memory_info()
    return (held.rss - held.shared) / 1e6 if hasattr(held, "shared") else float("nan")


class PeakMemory:
    """Watches a ``with`` block from a thread; afterwards ``megabytes`` is what it took at its peak.

    What the process held before the block is taken off.
    """

    def __enter__(self) -> "PeakMemory":
        self._before = self._peak = anonymous_memory()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._done.set()
        self._watcher.join()

    @property
    def megabytes(self) -> float:
        """The peak, in megabytes (10**6 bytes) above what was held before."""
        return self._peak - self._before

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, anonymous_memory())


class Work(NamedTuple):
    """One measurement: a task of ``TASKS``, on so many images, by a backbone of that width."""

    task: str
    images: int
    width: int
    folder: Path
    threads: int

    @property
    def features(self) -> Path:
        """Where the features lie that this work writes or reads."""
        return self.folder / f"features_{self.images}_{self.width}"


def measure_scaling(
    splits: Splits,
    width: int,
    folder: Path,
    progress: Callable[[list], Iterable] = iter,
) -> pd.DataFrame:
    """Measure every task on more and more images, and on the fewest of them in wider and wider networks.

    Parameters
    ----------
    width : of the backbone that sees more and more images.
    folder : takes the images and the features meanwhile, gigabytes at full size.

    Returns
    -------
    DataFrame
        ``task, images, width, seconds, megabytes`` (the peak of anonymous memory), ``stored`` (megabytes of
        features on the disk), and what it was measured with: ``channels, side`` of the images,
        ``branch_epochs``, ``threads``, ``processor``.
    """
    store_images(splits, folder)
    rows = []
    for images, wide in progress(_points(width)):
        for task in TASKS:
            number = images // EPOCH_PART if task == "one epoch" else images
            rows.append(_in_own_process(Work(task, number, wide, folder, THREADS)))
        for file in (folder / f"features_{images}_{wide}").iterdir():
            file.unlink()
    return pd.DataFrame(rows)


def _points(width: int) -> list[tuple[int, int]]:
    fewest = min(IMAGES)
    return [(images, width) for images in IMAGES] + [(fewest, wide) for wide in WIDTHS if wide != width]


def _in_own_process(work: Work) -> dict[str, object]:
    context = get_context("forkserver")  # has imported torch once, and has no threads when it forks
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, work).result()


def _run(work: Work) -> dict[str, object]:
    task = TASKS[work.task]
    set_up_torch(0, work.threads)
    splits = _mapped_splits(work)
    with PeakMemory() as peak:
        started = time.perf_counter()
        task(work, splits)
        seconds = time.perf_counter() - started
    written = sum(file.stat().st_size for file in work.features.glob("*.npy")) / 1e6
    return {
        "task": work.task,
        "images": work.images,
        "width": work.width,
        "seconds": seconds,
        "megabytes": peak.megabytes,
        "stored": written,
        "channels": splits.train.images.shape[1],
        "side": splits.train.images.shape[2],
        "branch_epochs": params("branches").epochs,
        "threads": torch.get_num_threads(),
        "processor": processor(),
    }


def _feature_pass(work: Work, splits: Splits) -> None:
    work.features.mkdir(exist_ok=True)
    store_features(_network(work, splits), splits, work.features, params("features"))


def _one_branch(work: Work, _: Splits) -> None:
    features = load_features(work.features)
    everyone = fitting.everyone(features)
    fitting.fit_exit(1, Scheme(), features, everyone, params("branches"), params("boosting"), seed=0)


def _all_configurations(work: Work, splits: Splits) -> None:
    features = load_features(work.features)
    parameters = params("boosting").model_copy(update=NOTHING_LEAVES)
    arguments = (features, params("branches"), parameters, 0)
    trees = [
        tree_of(name, 0, list(boosting.train_tree(scheme, *arguments))) for name, scheme in SCHEMES.items()
    ]
    cost = cost_model(_network(work, splits), features, splits)
    evaluate_configurations(trees, features, cost, parameters)


def _one_epoch(work: Work, splits: Splits) -> None:
    once = params("backbone").model_copy(update={"epochs": 1, "reduced_epochs": 0})
    train_backbone(_network(work, splits), splits, once)


TASKS: dict[str, Callable[[Work, Splits], None]] = {
    "feature pass": _feature_pass,
    "one branch": _one_branch,
    "all configurations": _all_configurations,
    "one epoch": _one_epoch,
}


def _network(work: Work, splits: Splits) -> StagedResNet18:
    return StagedResNet18(len(splits.classes), splits.train.images.shape[1], work.width)


def store_images(splits: Splits, folder: Path) -> None:
    """Lay the three splits end to end in files that can be mapped into memory."""
    three = (splits.train, splits.valid, splits.test)
    np.save(folder / "images.npy", torch.cat([each.images for each in three]).numpy())
    np.save(folder / "labels.npy", torch.cat([each.labels for each in three]).numpy())


def _mapped_splits(work: Work) -> Splits:
    """The first images: ``TRAIN_SHARE`` of them for training, half of the rest for each of the others."""
    images = torch.from_numpy(np.load(work.folder / "images.npy", mmap_mode="c"))
    labels = torch.from_numpy(np.load(work.folder / "labels.npy", mmap_mode="c"))
    if work.images > len(labels):
        raise ValueError(f"{work.images:,} images are asked for, the data set has {len(labels):,}")
    train = int(TRAIN_SHARE * work.images)
    ends = (0, train, (train + work.images) // 2, work.images)
    parts = [ImageSet(images[start:end], labels[start:end]) for start, end in pairwise(ends)]
    channels = images.shape[1]
    names = tuple(str(number) for number in range(int(labels.max()) + 1))
    return Splits(*parts, classes=names, mean=(0.5,) * channels, std=(0.5,) * channels, source="images.npy")


def main() -> None:
    """Measure on the data set of ``params.yaml`` and write the table."""
    with TemporaryDirectory() as folder:
        table = measure_scaling(load_data(), params("backbone").width, Path(folder), tqdm)
    path = repository_root() / "reports" / "measured" / "scaling.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
