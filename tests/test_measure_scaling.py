"""The script ``examples/measure_scaling.py``."""

import gc
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import measure_scaling as scaling
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from measure_scaling import PeakMemory, anonymous_memory

from btsee_lib.data.splits import ImageSet
from btsee_lib.schemes import SCHEMES

only_linux = pytest.mark.skipif(math.isnan(anonymous_memory()), reason="only Linux tells anonymous memory")
MEGABYTES = 60


@pytest.fixture
def here(repository, workspace, monkeypatch):
    """A repository of small batches, one epoch and few configurations, measured in this process."""
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    parameters["features"]["batch_size"] = 100
    parameters["branches"]["epochs"] = 1
    (workspace / "params.yaml").write_text(yaml.safe_dump(parameters))
    monkeypatch.setattr(scaling, "_in_own_process", scaling._run)
    monkeypatch.setattr(scaling, "IMAGES", (400, 800))
    monkeypatch.setattr(scaling, "WIDTHS", (8, 12))
    monkeypatch.setattr(scaling, "THREADS", 1)
    monkeypatch.setattr(scaling, "SCHEMES", {name: SCHEMES[name] for name in ("independent", "boosted")})
    monkeypatch.setitem(scaling.NOTHING_LEAVES, "margins", [[-1.0, -0.99]] * 3)  # 8 configurations for 64
    return workspace


def test_every_task_is_measured_on_more_images_and_in_wider_networks(here, splits, tmp_path):
    folder = tmp_path / "measured"
    folder.mkdir()
    table = scaling.measure_scaling(splits, 8, folder)
    points = {(400, 8), (800, 8), (400, 12)}
    for task in ("feature pass", "one branch", "all configurations"):
        assert (
            set(table[table["task"] == task][["images", "width"]].itertuples(index=False, name=None)) == points
        )
    epochs = table[table["task"] == "one epoch"]
    assert set(epochs["images"]) == {40, 80}
    assert (table["seconds"] > 0).all()
    # 10 logits and the grids of three stages, C x 7 x 7, 2 C x 7 x 7 and 4 C x 4 x 4, of four bytes
    passes = table[table["task"] == "feature pass"].set_index(["images", "width"])
    written = 1e-6 * 800 * (8 + 4 * (10 + 8 * (49 + 2 * 49 + 4 * 16)))
    assert passes.loc[(800, 8), "stored"] == pytest.approx(written, rel=0.01)
    assert not list(folder.glob("features_*/*"))


def test_more_images_than_there_are_are_refused(here, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "IMAGES", (9000,))
    with pytest.raises(ValueError, match="9,000 images are asked for, the data set has 3,000"):
        scaling.measure_scaling(splits, 8, tmp_path)


@only_linux
def test_memory_of_feature_pass_and_branch_training_does_not_grow_with_the_images(here, splits, tmp_path):
    again = torch.arange(6400) % len(splits.train)
    many = replace(splits, train=ImageSet(splits.train.images[again], splits.train.labels[again]))
    scaling.store_images(many, tmp_path)
    rows = [
        scaling._run(scaling.Work(task, number, 8, tmp_path, threads=1))
        for number in (1400, 8400)
        for task in ("feature pass", "one branch")
    ]
    few, few_branch, more, more_branch = pd.DataFrame(rows).itertuples()
    assert more.stored - few.stored > 35
    assert more.megabytes - few.megabytes < 12
    assert more_branch.megabytes - few_branch.megabytes < 12


def test_a_measurement_runs_in_a_process_of_its_own(monkeypatch):
    """What is changed in this process is not seen in the other."""
    monkeypatch.setitem(scaling.TASKS, "known here only", print)
    with pytest.raises(KeyError, match="known here only"):
        scaling._in_own_process(scaling.Work("known here only", 1, 8, Path(), threads=1))


@only_linux
def test_the_peak_is_seen_although_the_memory_is_given_back():
    gc.collect()  # what earlier tests left must not be given back meanwhile
    with PeakMemory() as peak:
        held = np.ones(MEGABYTES * 1_000_000, dtype=np.uint8)
        patience = time.monotonic() + 20  # the watcher may have looked while the array was being filled
        while peak.megabytes < MEGABYTES - 15 and time.monotonic() < patience:
            time.sleep(scaling.INTERVAL)
        del held
    assert peak.megabytes == pytest.approx(MEGABYTES, abs=15)


@only_linux
def test_what_was_held_before_does_not_count():
    held = np.ones(MEGABYTES * 1_000_000, dtype=np.uint8)
    with PeakMemory() as peak:
        held.sum()
    assert peak.megabytes < MEGABYTES / 2


@only_linux
def test_a_memory_mapped_file_does_not_count(tmp_path):
    np.save(tmp_path / "file.npy", np.ones(MEGABYTES * 1_000_000, dtype=np.uint8))
    with PeakMemory() as peak:
        assert np.load(tmp_path / "file.npy", mmap_mode="c").sum(dtype=np.int64) == MEGABYTES * 1_000_000
    assert peak.megabytes < MEGABYTES / 2


def test_where_the_system_does_not_tell_the_peak_is_nan(monkeypatch):
    monkeypatch.setattr(scaling.psutil.Process, "memory_info", lambda _: SimpleNamespace(rss=1))
    assert math.isnan(anonymous_memory())
    with PeakMemory() as peak:
        pass
    assert math.isnan(peak.megabytes)
