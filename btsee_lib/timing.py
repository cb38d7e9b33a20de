"""How long answers take: engines run in turn, on the same images, in one process.

An *engine* is a function from raw images, uint8 (N, C, H, W), to anything. Engines take turns after a
few images, or after each batch, so that a slow spell of the machine meets all of them.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

Engine = Callable[[Any], Any]
WARM_UP = 10  # calls of each engine before any is timed
BLOCK = 25  # single images before the next engine's turn: enough to find its weights in the cache
MANY = 48  # images: at least so many are run to time small batches
POWERCAP = Path("/sys/class/powercap")


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
        for position in range(min(WARM_UP, len(images))):
            engine(images[position : position + 1])
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
    """Time each engine on the first ``images_timed`` images, in batches of each size.

    Returns
    -------
    DataFrame
        ``engine, batch_size, round`` and ``milliseconds``, an image.
    """
    rows = []
    for size in batch_sizes:
        number = images_timed(size)
        batches = [images[start : start + size] for start in range(0, number, size)]
        for engine in engines.values():
            engine(batches[0][:MANY])
        for turn in range(rounds):
            for name in _rotated(list(engines), turn):
                seconds = sum(_seconds(engines[name], batch, clock) for batch in batches)
                rows.append((name, size, turn, 1000 * seconds / number))
    return pd.DataFrame(rows, columns=["engine", "batch_size", "round", "milliseconds"])


def images_timed(batch_size: int) -> int:
    """How many images ``throughput`` runs in batches of a size: as many whole batches as hold ``MANY``."""
    return max(batch_size, MANY) // batch_size * batch_size


def summarise_latencies(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, median and upper percentiles of ``latencies``: ``engine, mean, p50, p95, p99``, milliseconds."""
    groups = table.groupby("engine", sort=False)["milliseconds"]
    columns = {"mean": groups.mean(), **{f"p{q}": groups.quantile(q / 100) for q in (50, 95, 99)}}
    return pd.DataFrame(columns).reset_index()


def summarise_throughput(table: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of ``throughput`` over its rounds.

    Returns
    -------
    DataFrame
        ``engine, batch_size``; ``milliseconds`` an image, its median, with ``q25`` and ``q75``; and
        ``images_per_second``, of the median.
    """
    groups = table.groupby(["engine", "batch_size"], sort=False)["milliseconds"]
    columns = {"milliseconds": groups.median(), "q25": groups.quantile(0.25), "q75": groups.quantile(0.75)}
    return (
        pd.DataFrame(columns).assign(images_per_second=lambda rows: 1000 / rows["milliseconds"]).reset_index()
    )


def read_energy(folder: Path = POWERCAP) -> float | None:
    """Joules that the processor has used since some point in the past, by its own counter (RAPL).

    Returns
    -------
    float or None
        The sum over the processor packages; None where the machine shows no counter, as most virtual
        machines do, or does not let this user read it.
    """
    counters = sorted(folder.glob("intel-rapl:[0-9]*/energy_uj"))
    packages = [path for path in counters if path.parent.name.count(":") == 1]
    try:
        return sum(int(path.read_text()) for path in packages) / 1e6 if packages else None
    except (OSError, ValueError):
        return None


def energy_an_image(
    engines: dict[str, Engine], images: Sequence, folder: Path = POWERCAP
) -> dict[str, float] | None:
    """Millijoules an image that each engine takes, or None where they cannot be measured."""
    if read_energy(folder) is None:
        return None
    used = {}
    for name, engine in engines.items():
        before = read_energy(folder)
        for position in range(len(images)):
            engine(images[position : position + 1])
        used[name] = 1000 * (read_energy(folder) - before) / len(images)
    return used


def _seconds(engine: Engine, images: Any, clock: Callable[[], float]) -> float:
    started = clock()
    engine(images)
    return clock() - started


def _rotated(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]
