import math
import time
from pathlib import Path

import numpy as np
import pytest

from btsee_lib.studies import memory
from btsee_lib.studies.memory import PeakMemory, anonymous_memory

pytestmark = pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells anonymous memory")
MEGABYTES = 60


def test_the_peak_is_seen_although_the_memory_is_given_back():
    with PeakMemory() as peak:
        held = np.ones(MEGABYTES * 1_000_000, dtype=np.uint8)
        time.sleep(40 * memory.INTERVAL)  # on a busy machine the watcher is late
        del held
    assert peak.megabytes == pytest.approx(MEGABYTES, abs=15)


def test_what_was_held_before_does_not_count():
    held = np.ones(MEGABYTES * 1_000_000, dtype=np.uint8)
    with PeakMemory() as peak:
        held.sum()
    assert peak.megabytes < MEGABYTES / 2


def test_a_memory_mapped_file_does_not_count(tmp_path):
    np.save(tmp_path / "file.npy", np.ones(MEGABYTES * 1_000_000, dtype=np.uint8))
    with PeakMemory() as peak:
        assert np.load(tmp_path / "file.npy", mmap_mode="c").sum(dtype=np.int64) == MEGABYTES * 1_000_000
    assert peak.megabytes < MEGABYTES / 2


def test_where_the_system_does_not_tell_the_peak_is_nan(monkeypatch):
    monkeypatch.setattr(memory, "STATUS", Path("does-not-exist"))
    assert math.isnan(anonymous_memory())
    with PeakMemory() as peak:
        pass
    assert math.isnan(peak.megabytes)
