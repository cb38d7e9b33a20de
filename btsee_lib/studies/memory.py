"""How much memory a piece of work takes at its peak.

Counted is *anonymous* memory, which the work itself has asked for. Pages of a memory-mapped file are left
out: the system drops them when it needs the room.
"""

import threading
from pathlib import Path

INTERVAL = 0.005  # seconds between two looks
STATUS = Path("/proc/self/status")


def anonymous_memory() -> float:
    """Megabytes of anonymous memory that this process holds now; nan where the system does not tell."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 / 1e6 if sizes else float("nan")


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
