import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, ttest_1samp

from btsee_lib.uncertainty import (
    fall_interval,
    image_weights,
    interval,
    mean_interval,
    ratio_interval,
    share_interval,
)


def test_the_interval_lies_between_the_percentiles_by_hand():
    values = np.arange(101.0)
    assert interval(values, 0.9) == pytest.approx((5, 95))
    assert interval(values, 0.5) == pytest.approx((25, 75))


def test_the_interval_goes_along_the_axis_and_leaves_nans_out():
    values = np.stack([np.arange(101.0), np.full(101, 3.0)])
    values[1, ::2] = np.nan
    low, high = interval(values, 0.9, axis=1)
    assert low == pytest.approx([5, 3])
    assert high == pytest.approx([95, 3])


def test_every_resample_draws_as_many_images_as_there_are():
    weights = image_weights(7, 500, seed=0)
    assert weights.shape == (500, 7)
    assert (weights >= 0).all()
    assert (weights.sum(1) == 7).all()
    assert weights.mean(0) == pytest.approx(np.ones(7), abs=0.2)


def test_the_draws_follow_from_the_seed():
    first, again, other = (image_weights(7, 20, seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(("successes", "trials"), [(7, 10), (0, 5), (5, 5), (930, 1000)])
def test_the_interval_of_a_share_is_that_of_wilson(successes, trials):
    share, z = successes / trials, norm.ppf(0.975)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    assert share_interval(successes, trials) == pytest.approx((centre - reach, centre + reach), abs=1e-12)
    low, high = share_interval(successes, trials)
    assert 0 <= low <= share <= high <= 1


def test_a_share_of_nothing_has_no_interval():
    assert np.isnan(share_interval(0, 0)).all()


def test_a_higher_confidence_gives_a_wider_interval():
    narrow, wide = share_interval(7, 10, 0.8), share_interval(7, 10, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_interval_of_a_ratio_holds_the_ratio():
    generator = np.random.default_rng(0)
    denominator = generator.integers(0, 4, 300).astype(float)
    numerator = denominator * generator.normal(0.3, 1, 300)
    low, high = ratio_interval(numerator, denominator)
    assert low < numerator.sum() / denominator.sum() < high
    assert (low, high) == ratio_interval(numerator, denominator)
    assert (low, high) != ratio_interval(numerator, denominator, seed=1)
    few = ratio_interval(numerator[:30], denominator[:30])
    assert few[1] - few[0] > high - low


def test_a_ratio_that_is_the_same_for_all_images_is_certain():
    denominator = np.array([1.0, 2.0, 5.0, 3.0])
    assert ratio_interval(0.25 * denominator, denominator) == pytest.approx((0.25, 0.25))


def test_resamples_without_a_denominator_do_not_count():
    denominator = np.array([1.0, 0, 0, 0])
    assert (image_weights(4, 1000, seed=0)[:, 0] == 0).any()
    assert ratio_interval(0.5 * denominator, denominator) == pytest.approx((0.5, 0.5))


def test_the_interval_of_a_fall_is_that_of_a_plain_loop():
    generator = np.random.default_rng(0)
    right, met = generator.random(40) < 0.8, generator.random(40) < 0.6
    falls = []
    for weights in image_weights(40, 50, seed=2):
        drawn = np.repeat(np.arange(40), weights)
        falls.append(right[drawn].mean() - right[drawn][met[drawn]].mean())
    expected = np.percentile(falls, [5, 95])
    assert fall_interval(right, met, resamples=50, seed=2, confidence=0.9) == pytest.approx(tuple(expected))


def test_the_interval_of_a_fall_holds_the_fall():
    met = np.arange(400) % 4 == 0
    right = ~met | (np.arange(400) % 8 == 0)  # all of the others, and half of those met
    low, high = fall_interval(right, met)
    assert 0 < low < right.mean() - right[met].mean() < high


def test_nothing_falls_where_everyone_is_met():
    right = np.arange(50) % 3 == 0
    assert fall_interval(right, np.ones(50, dtype=bool)) == (0, 0)


def test_the_interval_of_a_mean_is_students_in_each_group_and_column():
    table = pd.DataFrame({"group": list("aaabb"), "x": [1.0, 2, 4, 7, 9], "y": [0.5, 0.1, 0.3, 2.0, -2.0]})
    mean, low, high = mean_interval(table.groupby("group"), 0.9)
    for name, rows in table.groupby("group"):
        for column in ("x", "y"):
            expected = ttest_1samp(rows[column], 0).confidence_interval(0.9)
            assert mean.loc[name, column] == pytest.approx(rows[column].mean())
            assert (low.loc[name, column], high.loc[name, column]) == pytest.approx(tuple(expected))


def test_a_single_value_has_a_mean_and_no_interval():
    mean, low, high = mean_interval(pd.DataFrame({"group": ["a"], "x": [3.0]}).groupby("group"))
    assert mean.loc["a", "x"] == 3
    assert np.isnan([low.loc["a", "x"], high.loc["a", "x"]]).all()
