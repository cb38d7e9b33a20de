import numpy as np
import pandas as pd
import pytest

from btsee_lib.studies.fewer_images import expected_gains, gains_by_part, gains_by_seed
from btsee_lib.studies.survivors import TrainingGains


def made_up(gain):
    """Two seeds, and two branches of number 2, one of which meets three times as many images as the other."""
    rows = [
        {"seed": seed, "branch": 2, "train_survivors": met, "test_survivors": met, "gain": gain + seed + extra}
        for seed in (0, 1)
        for met, extra in ((100, 0.0), (300, 4.0))
    ]
    gained = np.array([1.0, -1.0, 1.0, 0.0])
    return TrainingGains(pd.DataFrame(rows), {2: gained, 3: np.zeros(4)}, {2: np.ones(4), 3: np.zeros(4)})


def test_gains_by_part_are_those_of_all_survivors_with_their_interval_and_a_closed_branch_has_no_row():
    table = gains_by_part({100: made_up(0.0)})
    assert table[["train_images", "branch", "train_survivors"]].values.tolist() == [[100, 2, 200]]
    row = table.iloc[0]
    assert row["gain"] == 25
    assert row["low"] < 25 < row["high"]


def test_gains_by_seed_weigh_a_branch_by_whom_it_meets():
    table = gains_by_seed({100: made_up(0.0), 200: made_up(1.0)}).set_index(["train_images", "branch", "seed"])
    assert table["gain"].to_dict() == {(100, 2, 0): 3, (100, 2, 1): 4, (200, 2, 0): 4, (200, 2, 1): 5}


def by_seed(*gains):
    """Three seeds, one ahead of the mean by a point and one behind, with 10, 20 and 40 thousand images."""
    rows = [
        (images, 2, seed, gain + seed)
        for images, gain in zip((10_000, 20_000, 40_000), gains, strict=True)
        for seed in (-1, 0, 1)
    ]
    return pd.DataFrame(rows, columns=["train_images", "branch", "seed", "gain"])


@pytest.mark.parametrize(("images", "gain"), [(40_000, 3), (80_000, 5), (160_000, 7)])
def test_each_further_doubling_changes_the_gain_as_the_last_one_did(images, gain):
    found = expected_gains(by_seed(-9, 1, 3), images, 0.95).iloc[0]
    assert (found["branch"], found["gain"]) == (2, gain)
    # Of three values, one apart: a standard deviation of 1, and Student's t with 2 degrees of freedom.
    assert found["high"] - gain == gain - found["low"] == pytest.approx(4.302653 / np.sqrt(3))
