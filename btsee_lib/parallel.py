"""Threads and processes: what small networks train in, on a processor of several cores."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from btsee_lib.compute import compute_device


@contextmanager
def exactly(threads: int) -> Iterator[None]:
    """Let torch run with just so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if torch.get_num_threads() != threads:
            raise RuntimeError(f"torch runs with {torch.get_num_threads()} threads, and not with {threads}")
        yield
    finally:
        torch.set_num_threads(before)


def in_processes(work: Callable, calls: Sequence[tuple], progress: Callable = iter) -> list:
    """Call ``work`` with each tuple of arguments, in as many processes as there are processors.

    With a GPU, or for a single call, all is done in this process.

    Parameters
    ----------
    work : a function of a module, whose arguments and results can be pickled.
    progress : wraps the numbers of the calls, for example ``tqdm``.

    Returns
    -------
    list
        The results, in the order of the calls.
    """
    from joblib import Parallel, cpu_count, delayed

    processes = 1 if compute_device().type == "cuda" else min(cpu_count(), len(calls))
    done = Parallel(n_jobs=max(processes, 1), return_as="generator")(delayed(work)(*each) for each in calls)
    return [result for _, result in zip(progress(range(len(calls))), done, strict=True)]
