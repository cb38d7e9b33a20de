import numpy as np
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
    return {("slow", "a"): clock.engine("slow", 0.004), ("fast", "a"): clock.engine("fast", 0.001)}


def of_engine(table, name):
    return table.loc[table["engine"] == name, "milliseconds"].to_numpy()


def test_each_image_is_timed_alone(clock, engines):
    table = timing.time_calls(engines, IMAGES, clock=clock)
    assert list(table.columns) == ["engine", "model", "round", "milliseconds"]
    assert len(table) == 12
    assert of_engine(table, "slow") == pytest.approx(4.0)
    assert of_engine(table, "fast") == pytest.approx(1.0)
    assert {size for _, size in clock.calls} == {1}


def test_engines_are_warmed_up_and_take_turns(clock, engines):
    timing.time_calls(engines, np.zeros((60, 1, 2, 2), np.uint8), clock=clock)
    names = [name for name, _ in clock.calls]
    assert names[:20] == ["slow"] * 10 + ["fast"] * 10
    assert names[20:70] == ["slow"] * 25 + ["fast"] * 25
    assert names[70:120] == ["fast"] * 25 + ["slow"] * 25
    assert names[120:] == ["slow"] * 10 + ["fast"] * 10


@pytest.mark.parametrize("size", [1, 20, 64])
def test_batches_are_timed_over_the_same_images_in_every_round(clock, engines, size):
    images = np.zeros((100, 1, 2, 2), np.uint8)
    table = timing.time_calls(engines, images, size, rounds=2, clock=clock)
    sums = table.groupby(["engine", "round"])["milliseconds"].sum() / len(images)
    assert sums.to_dict() == pytest.approx({("slow", 0): 4, ("slow", 1): 4, ("fast", 0): 1, ("fast", 1): 1})
    batches, warm_up = -(-100 // size), min(timing.WARM_UP, -(-100 // size))
    sizes = [number for name, number in clock.calls if name == "slow"]
    assert len(sizes) == 2 * batches + warm_up
    assert max(sizes) == size


def test_engines_take_turns_after_all_batches_of_a_round(clock, engines):
    timing.time_calls(engines, IMAGES, 3, rounds=2, clock=clock)
    names = [name for name, _ in clock.calls]
    assert names == ["slow"] * 2 + ["fast"] * 2 + ["slow"] * 2 + ["fast"] * 4 + ["slow"] * 2


def test_the_first_call_is_not_timed(clock):
    def waking(images):
        clock.now += 0.001 * len(images) if clock.calls else 9.0
        clock.calls.append(len(images))

    table = timing.time_calls({(7,): waking}, IMAGES, 3, rounds=2, names=["exit"], clock=clock)
    assert table["milliseconds"].to_numpy() == pytest.approx(3.0)
    assert set(table["exit"]) == {7}
