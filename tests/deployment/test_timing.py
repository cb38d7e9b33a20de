import numpy as np
import pandas as pd
import pytest

from btsee_lib.deployment import timing

IMAGES = np.zeros((6, 1, 2, 2), np.uint8)


class Clock:
    """A clock that only engines move on."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def engine(self, name, seconds):
        def run(images):
            self.calls.append((name, len(images)))
            self.now += seconds * len(images)

        return run


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engines(clock):
    return {"slow": clock.engine("slow", 0.004), "fast": clock.engine("fast", 0.001)}


def test_each_image_is_timed_alone(clock, engines):
    table = timing.latencies(engines, IMAGES, clock)
    assert list(table.columns) == ["engine", "image", "milliseconds"]
    assert len(table) == 12
    for name, milliseconds in (("slow", 4.0), ("fast", 1.0)):
        assert table.loc[table["engine"] == name, "milliseconds"].to_numpy() == pytest.approx(milliseconds)
    assert {size for _, size in clock.calls} == {1}


def test_engines_are_warmed_up_and_take_turns(clock, engines):
    timing.latencies(engines, np.zeros((60, 1, 2, 2), np.uint8), clock)
    names = [name for name, _ in clock.calls]
    assert names[:20] == ["slow"] * 10 + ["fast"] * 10
    assert names[20:70] == ["slow"] * 25 + ["fast"] * 25
    assert names[70:120] == ["fast"] * 25 + ["slow"] * 25
    assert names[120:] == ["slow"] * 10 + ["fast"] * 10


def test_batches_of_all_sizes_are_timed_over_the_same_images(clock, engines):
    images = np.zeros((100, 1, 2, 2), np.uint8)
    table = timing.throughput(engines, images, [1, 20, 64], rounds=2, clock=clock)
    assert len(table) == 2 * 3 * 2
    assert table["milliseconds"].groupby(table["engine"]).max().round(9).to_dict() == {"slow": 4.0, "fast": 1.0}
    sizes = pd.Series([size for name, size in clock.calls if name == "slow"]).value_counts()
    rounds = 3  # the first is not timed
    assert sizes[1] == rounds * 100
    assert sizes[20] == rounds * 5
    assert sizes[64] == sizes[36] == rounds


def test_the_first_round_of_batches_is_not_timed(clock):
    def waking(images):
        clock.now += 0.001 * len(images) if clock.calls else 9.0
        clock.calls.append(len(images))

    table = timing.throughput({"waking": waking}, IMAGES, [3], rounds=2, clock=clock)
    assert table["milliseconds"].to_numpy() == pytest.approx(1.0)
    assert len(clock.calls) == 6


def test_latencies_are_summarised_by_mean_median_and_95th_percentile():
    table = pd.DataFrame({"engine": ["a"] * 101, "image": range(101), "milliseconds": np.arange(101.0)})
    (row,) = timing.summarise_latencies(table).to_dict("records")
    assert row == {"engine": "a", "mean": 50.0, "p50": 50.0, "p95": 95.0}


def test_throughput_is_summarised_by_median_and_range():
    table = pd.DataFrame(
        {"engine": ["a"] * 5, "batch_size": [4] * 5, "round": range(5), "milliseconds": [1.0, 2, 4, 8, 100]}
    )
    (row,) = timing.summarise_throughput(table).to_dict("records")
    assert row == {
        "engine": "a",
        "batch_size": 4,
        "milliseconds": 4.0,
        "lowest": 1.0,
        "highest": 100.0,
        "images_per_second": 250.0,
    }
