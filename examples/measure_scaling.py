"""How cost grows with the work: time and peak memory of the steps that take long, measured.

Each measurement runs in a process of its own, so that its peak of memory is its own, and reads its
images from a memory-mapped file, as large data sets are read. The networks are untrained: a step takes
as long whatever the weights are. All branches see all images, which is the most that they can see.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from btsee_lib import boosting
from btsee_lib.store import results as stored
from btsee_lib.backbone import StagedResNet18
from btsee_lib.config import Scale, params, set_up_torch
from btsee_lib.evaluation import evaluate_configurations
from btsee_lib.features import load_features, store_features
from btsee_lib.deployment.machine import processor
from btsee_lib.studies.memory import PeakMemory
from btsee_lib.data.splits import ImageSet, Splits
from btsee_lib.training import train_backbone

TRAIN_SHARE = 5 / 7  # of the images, as in the published data set; the rest are valid and test
EPOCH_PART = 10  # an epoch of training is measured on this fraction of the images: it takes longest
NOTHING_LEAVES = {"margins": [[-1.0, -0.99, -0.98, -0.97]] * 3, "bar_ceiling": 2.0}


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
    splits: Splits, wanted: Scale, width: int, folder: Path, progress: Callable[[list], Iterable] = iter
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
    for images, wide in progress(_points(wanted, width)):
        for task in TASKS:
            number = images // EPOCH_PART if task == "one epoch" else images
            rows.append(_in_own_process(Work(task, number, wide, folder, wanted.threads)))
        for file in (folder / f"features_{images}_{wide}").iterdir():
            file.unlink()
    return pd.DataFrame(rows)


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Fit a straight line to the time of each task over the images: ``task, fixed, per_image, misfit``.

    ``fixed`` in seconds, ``per_image`` in milliseconds; ``misfit`` is the largest deviation of a
    measurement from its line, as a share of the measurement.
    """
    rows = []
    width = table["width"][table["images"].idxmax()]
    for task, points in table[table["width"] == width].groupby("task", sort=False):
        slope, fixed = np.polyfit(points["images"], points["seconds"], 1)
        misfit = (fixed + slope * points["images"] - points["seconds"]).abs() / points["seconds"]
        rows.append({"task": task, "fixed": fixed, "per_image": 1000 * slope, "misfit": misfit.max()})
    return pd.DataFrame(rows)


def memory_growth(table: pd.DataFrame) -> pd.DataFrame:
    """Set the growth of each task's peak of memory, over the images, against that of the files.

    Returns
    -------
    DataFrame
        ``task, megabytes`` (growth of the peak), ``files`` (growth of what the feature pass stores)
        and ``share``, the first over the second.
    """
    rows = table[table["width"] == table["width"][table["images"].idxmax()]].sort_values("images")
    grown = rows.groupby("task", sort=False)[["megabytes", "stored"]].agg(
        lambda each: each.iloc[-1] - each.iloc[0]
    )
    grown = grown.assign(files=grown.loc["feature pass", "stored"]).drop(columns="stored")
    return grown.assign(share=grown["megabytes"] / grown["files"]).reset_index()


def _points(wanted: Scale, width: int) -> list[tuple[int, int]]:
    fewest = min(wanted.images)
    return [(images, width) for images in wanted.images] + [
        (fewest, wide) for wide in wanted.widths if wide != width
    ]


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
    everyone = boosting.everyone(features)
    boosting.fit_branch(1, features, everyone, params("branches"), params("boosting"), seed=0)


def _all_configurations(work: Work, splits: Splits) -> None:
    features = load_features(work.features)
    limits = params("boosting").model_copy(update=NOTHING_LEAVES)
    arguments = (features, params("branches"), limits, 0)
    trained = [*boosting.train_independent(*arguments), *boosting.train_boosted_tree(*arguments)]
    stored.write_branches(work.features, trained)
    cost = stored.cost_model(_network(work, splits), features, splits)
    evaluate_configurations([stored.read_branches(work.features, 0)], features, cost, limits)


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
        raise ValueError(f"scale.images asks for {work.images:,} images, the data set has {len(labels):,}")
    train = int(TRAIN_SHARE * work.images)
    ends = (0, train, (train + work.images) // 2, work.images)
    parts = [ImageSet(images[start:end], labels[start:end]) for start, end in pairwise(ends)]
    channels = images.shape[1]
    names = tuple(str(number) for number in range(int(labels.max()) + 1))
    return Splits(*parts, classes=names, mean=(0.5,) * channels, std=(0.5,) * channels, source="images.npy")
