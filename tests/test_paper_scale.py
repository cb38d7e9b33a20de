import pandas as pd
import pytest

from btsee_lib.config import params
from btsee_lib.paper_scale import Plan, disk_gigabytes, predict_hours

SHAPE = (1, 28, 28)


@pytest.fixture
def plan(repository):
    path = repository / "params.yaml"
    sections = {name: params(name, path) for name in ("backbone", "branches", "boosting")}
    return Plan(
        train_images=3500, all_images=5000, image_shape=SHAPE, num_classes=10, static_width=8, **sections
    )


def table(plan, width=None):
    rows = [("feature pass", 1000, 2.0), ("one epoch", 100, 4.0), ("all configurations", 1000, 6.0)]
    rows = [(*row, width or plan.backbone.width) for row in rows] + [("one epoch", 100, 1.0, 8)]
    return pd.DataFrame(rows, columns=["task", "images", "seconds", "width"]).assign(
        channels=1, side=28, branch_epochs=plan.branches.epochs
    )


def test_a_run_of_the_measured_kind_takes_its_multiple_of_the_measured_time(plan):
    hours = predict_hours(table(plan), plan).set_index("step")["hours"]
    epochs, seeds = plan.backbone.epochs, len(plan.boosting.seeds)
    # 100 images are 5/7 * 100 for training, so 3,500 training images are 49 times as many
    assert hours[f"backbone, width {plan.backbone.width}"] == pytest.approx(epochs * 49 * 4 / 3600)
    assert hours["feature pass"] == pytest.approx(5 * 2 / 3600)
    assert hours["branches and all configurations"] == pytest.approx(seeds * 4.9 * 6 / 3600)
    assert hours["rival, width 8"] == pytest.approx(epochs * 49 * 1 / 3600)


def test_larger_images_cost_as_many_more_macs_and_branches_grow_with_side_and_epochs(plan):
    measured, plan = table(plan), plan._replace(image_shape=(1, 32, 32))
    twice = plan._replace(
        image_shape=(1, 64, 64), branches=plan.branches.model_copy(update={"epochs": 3 * plan.branches.epochs})
    )
    before, after = (predict_hours(measured, each)["hours"] for each in (plan, twice))
    assert (after / before).tolist() == pytest.approx([4, 4, 6, 4], rel=0.01)


def test_a_width_that_was_not_measured_is_named(plan):
    with pytest.raises(ValueError, match=f"width {plan.backbone.width} was not measured"):
        predict_hours(table(plan, width=64), plan)


def test_what_a_large_run_keeps_is_counted(plan):
    full = plan._replace(
        train_images=90_000,
        all_images=270_000,
        image_shape=(3, 32, 32),
        backbone=plan.backbone.model_copy(update={"width": 64}),
        boosting=plan.boosting.model_copy(update={"seeds": [0, 1], "margins": [[0.0, 0.1]] * 3}),
    )
    disk = disk_gigabytes(full, 7_000_000, "float16").set_index("what")["gigabytes"]
    assert disk["archive"] == pytest.approx(0.007)
    assert disk["images as arrays"] == pytest.approx(270_000 * 3072 / 1e9)
    # C x (H + W) after each of three stages, 64 x 64 + 128 x 32 + 256 x 16, and 10 logits of four bytes
    assert disk["features"] == pytest.approx(270_000 * (3 * 4096 * 2 + 40) / 1e9)
    # 3 independent branches and 1 + 2 + 4 boosted ones a seed
    assert disk["logits of all branches"] == pytest.approx(2 * 10 * 180_000 * 40 / 1e9)
    single = disk_gigabytes(full, 7_000_000, "float32").set_index("what")["gigabytes"]
    assert single["features"] == pytest.approx(270_000 * (3 * 4096 * 4 + 40) / 1e9)


def test_stored_features_are_of_the_predicted_size(features_folder, backbone, splits, plan):
    """What ``store_features`` really writes, labels and headers left out."""
    images = len(splits.train) + len(splits.valid) + len(splits.test)
    small = plan._replace(
        all_images=images, backbone=plan.backbone.model_copy(update={"width": backbone.width})
    )
    written = sum(path.stat().st_size for path in features_folder.glob("*.npy") if "labels" not in path.name)
    predicted = disk_gigabytes(small, 0, "float32").set_index("what")["gigabytes"]["features"]
    assert 1e9 * predicted == pytest.approx(written, rel=1e-3)
