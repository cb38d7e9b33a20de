"""How long answers take: engines run in turn, on the same images, in one process.

An *engine* is a function from raw images, uint8 (N, C, H, W), to anything. Engines take turns after a
few single images, or after all batches of a round, so that a slow spell of the machine meets all of them.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

Engine = Callable[[Any], Any]
EAGER, STAGES, ONE_MODEL = "PyTorch eager", "ONNX stages", "ONNX single"
WARM_UP = 10  # calls of each engine before any is timed
BLOCK = 25  # single images before the next engine's turn: enough to find its weights in the cache


def latencies(
    engines: dict[str, Engine], images: Sequence, clock: Callable[[], float] = time.perf_counter
) -> pd.DataFrame:
    """Time each engine on one image after the other; every ``BLOCK`` images the next engine has its turn.

    Returns
    -------
    DataFrame
        ``engine, image`` (its position) and ``milliseconds``.
    """
    for engine in engines.values():
        _one_by_one(engine, images[:WARM_UP])
    rows = []
    for turn, start in enumerate(range(0, len(images), BLOCK)):
        for name in _rotated(list(engines), turn):
            for position in range(start, min(start + BLOCK, len(images))):
                image = images[position : position + 1]
                rows.append((name, position, 1000 * _seconds(engines[name], image, clock)))
    return pd.DataFrame(rows, columns=["engine", "image", "milliseconds"])


def throughput(
    engines: dict[str, Engine],
    images: Sequence,
    batch_sizes: Sequence[int],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Time each engine on the same images in batches of each size, after a round that is not timed.

    Returns
    -------
    DataFrame
        ``engine, batch_size, round`` and ``milliseconds``, an image.
    """
    rows = []
    for size in batch_sizes:
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        for turn in range(-1, rounds):
            for name in _rotated(list(engines), turn):
                seconds = sum(_seconds(engines[name], batch, clock) for batch in batches)
                if turn >= 0:
                    rows.append((name, size, turn, 1000 * seconds / len(images)))
    return pd.DataFrame(rows, columns=["engine", "batch_size", "round", "milliseconds"])


def summarise_latencies(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, median and 95th percentile of ``latencies``: ``engine, mean, p50, p95``, milliseconds."""
    groups = table.groupby("engine", sort=False)["milliseconds"]
    columns = {"mean": groups.mean(), "p50": groups.median(), "p95": groups.quantile(0.95)}
    return pd.DataFrame(columns).reset_index()


def summarise_throughput(table: pd.DataFrame) -> pd.DataFrame:
    """Median and range of ``throughput`` over its rounds.

    Returns
    -------
    DataFrame
        ``engine, batch_size``; ``milliseconds`` an image, its median over the rounds, with ``lowest``
        and ``highest``; and ``images_per_second``, of the median.
    """
    groups = table.groupby(["engine", "batch_size"], sort=False)["milliseconds"]
    columns = {"milliseconds": groups.median(), "lowest": groups.min(), "highest": groups.max()}
    return (
        pd.DataFrame(columns).assign(images_per_second=lambda rows: 1000 / rows["milliseconds"]).reset_index()
    )


def _one_by_one(engine: Engine, images: Sequence) -> None:
    for position in range(len(images)):
        engine(images[position : position + 1])


def _seconds(engine: Engine, images: Any, clock: Callable[[], float]) -> float:
    started = clock()
    engine(images)
    return clock() - started


def _rotated(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]
