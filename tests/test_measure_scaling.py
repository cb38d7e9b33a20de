from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from btsee_lib.studies import memory
from btsee_lib.studies import scaling
from btsee_lib.config import Scale
from btsee_lib.data.splits import ImageSet

SIZES = Scale(images=[400, 800], widths=[8, 12], threads=1)


@pytest.fixture
def here(repository, workspace, monkeypatch):
    """A repository with small batches and one epoch, in which measurements run in this process."""
    parameters = yaml.safe_load((repository / "params.yaml").read_text())
    parameters["features"]["batch_size"] = 100
    parameters["branches"]["epochs"] = 1
    (workspace / "params.yaml").write_text(yaml.safe_dump(parameters))
    monkeypatch.setattr(scaling, "_in_own_process", scaling._run)
    return workspace


def test_every_task_is_measured_on_more_images_and_in_wider_networks(here, splits, tmp_path):
    folder = tmp_path / "measured"
    folder.mkdir()
    table = scaling.measure_scaling(splits, SIZES, 8, folder)
    points = {(400, 8), (800, 8), (400, 12)}
    for task in ("feature pass", "one branch", "all configurations"):
        assert (
            set(table[table["task"] == task][["images", "width"]].itertuples(index=False, name=None)) == points
        )
    epochs = table[table["task"] == "one epoch"]
    assert set(epochs["images"]) == {40, 80}
    assert (table["seconds"] > 0).all()
    # 10 logits and the strips of three stages, C x (28 + 28), 2 C x (14 + 14) and 4 C x (7 + 7), of four bytes
    passes = table[table["task"] == "feature pass"].set_index(["images", "width"])
    written = 1e-6 * 800 * (8 + 4 * (10 + 8 * (56 + 2 * 28 + 4 * 14)))
    assert passes.loc[(800, 8), "stored"] == pytest.approx(written, rel=0.01)
    assert not list(folder.glob("features_*/*"))


def test_more_images_than_there_are_are_refused(here, splits, tmp_path):
    with pytest.raises(ValueError, match="asks for 9,000 images, the data set has 3,000"):
        scaling.measure_scaling(splits, SIZES.model_copy(update={"images": [9000, 9001]}), 8, tmp_path)


def test_the_line_through_measurements_gives_fixed_and_growing_time():
    table = pd.DataFrame({"task": "a", "images": [100, 200, 300], "width": 8, "seconds": [1.2, 1.4, 1.6]})
    (row,) = scaling.rates(table).itertuples()
    assert (row.fixed, row.per_image, row.misfit) == pytest.approx((1.0, 2.0, 0.0), abs=1e-9)


def test_growth_of_memory_is_set_against_the_growth_of_the_files():
    table = pd.DataFrame(
        [
            ("feature pass", 100, 8, 10.0, 30.0),
            ("one branch", 100, 8, 7.0, 30.0),
            ("feature pass", 400, 8, 11.0, 120.0),
            ("one branch", 400, 8, 16.0, 120.0),
            ("feature pass", 100, 64, 99.0, 240.0),
        ],
        columns=["task", "images", "width", "megabytes", "stored"],
    )
    growth = scaling.memory_growth(table).set_index("task")
    assert growth["megabytes"].tolist() == [1.0, 9.0]
    assert growth["files"].tolist() == [90.0, 90.0]
    assert growth["share"].tolist() == pytest.approx([1 / 90, 0.1])


@pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells anonymous memory")
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
