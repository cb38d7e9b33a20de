"""How long answers take: engines run in turn, on the same images, in one process.

An *engine* is a function from raw images, uint8 (N, C, H, W), to anything. Engines take turns after a
few single images, or after all batches of a round, so that a slow spell of the machine meets all of them.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

Engine = Callable[[Any], Any]
EAGER, STAGES, ONE_MODEL = "PyTorch eager", "ONNX stages", "ONNX single"
WARM_UP = 10  # calls of each engine before any is timed
BLOCK = 25  # single images before the next engine's turn: enough to find its weights in the cache


def time_calls(
    engines: dict[tuple, Engine],
    images: Sequence,
    batch_size: int = 1,
    rounds: int = 1,
    names: Sequence[str] = ("engine", "model"),
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Time every call of every engine, on the same images, in batches of the same size.

    Parameters
    ----------
    engines : by keys, tuples of so many parts as there are ``names``.

    Returns
    -------
    DataFrame
        A row a call: the parts of the key, in columns of those ``names``, ``round`` and ``milliseconds``.
    """
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    block = BLOCK if batch_size == 1 else len(batches)
    for engine, batch in itertools.product(engines.values(), batches[:WARM_UP]):
        engine(batch)
    rows, keys = [], list(engines)
    turns = itertools.product(range(rounds), range(0, len(batches), block))
    for turn, (number, start) in enumerate(turns):
        first = turn % len(keys)
        for key in keys[first:] + keys[:first]:
            for batch in batches[start : start + block]:
                started = clock()
                engines[key](batch)
                rows.append((*key, number, 1000 * (clock() - started)))
    return pd.DataFrame(rows, columns=[*names, "round", "milliseconds"])
