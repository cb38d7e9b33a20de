import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BASELINE, BTS_EE, CALIBRATION_ALONE, Cell, mean_over_seeds, of_cell
from btsee_lib.studies import comparison
from btsee_lib.studies.comparison import Resamples
from btsee_lib.uncertainty import image_weights

IMAGES, SEEDS, RESAMPLES = 60, (0, 1), 200
CELLS = [Cell(*each) for each in itertools.product(("independent", "boosted"), ("full", "survivors"))]
MARGINS = (-0.1, 0.0, 0.1)
REDUCTION, DROP = np.array([0.1, 0.3, 0.5]), np.array([0.0, 1.0, 3.0])


def decided(correct, macs, backbone_correct):
    """Decisions from what happens image by image; valid sees the same as test."""
    names = [(seed, *cell, m) for seed in SEEDS for cell in CELLS for m in MARGINS]
    table = pd.DataFrame(names, columns=["seed", "training", "calibration", "m1"])
    table["accuracy"] = correct.mean(1)
    table["drop"] = 100 * (backbone_correct.mean() - table["accuracy"])
    table["reduction"] = 1 - macs.mean(1) / 400
    table["valid_drop"], table["valid_reduction"] = table["drop"], table["reduction"]
    return Decisions(table, correct, macs.astype(np.float32), backbone_correct, 400)


@pytest.fixture(scope="module")
def decisions():
    generator = np.random.default_rng(0)
    correct = generator.random((24, IMAGES)) < 0.8
    macs = generator.choice([100, 200, 300, 400], (24, IMAGES))
    backbone_correct = generator.random(IMAGES) < 0.9
    # In both seeds the first configuration is the backbone, and the fifth decides as the second does.
    correct[[0, 12]], macs[[0, 12]] = backbone_correct, 400
    correct[[4, 16]], macs[[4, 16]] = correct[[1, 13]], macs[[1, 13]]
    return decided(correct, macs, backbone_correct)


@pytest.fixture(scope="module")
def drawn(decisions):
    return comparison.bootstrap(decisions, RESAMPLES, seed=7)


def test_the_resamples_are_those_of_a_plain_loop(decisions):
    found = comparison.bootstrap(decisions, 5, seed=3)
    images = image_weights(IMAGES, 5, seed=3)
    seeds = np.random.default_rng([3, 2]).multinomial(2, [0.5, 0.5], 5)
    for r in range(5):
        picked = np.repeat(np.arange(IMAGES), images[r])
        backbone = decisions.backbone_correct[picked].mean()
        for c in range(12):
            rows = np.repeat([c, 12 + c], seeds[r])
            accuracy = np.mean([decisions.correct[row][picked].mean() for row in rows])
            macs = np.mean([decisions.cost[row][picked].mean() for row in rows])
            assert found.drop[r, c] == pytest.approx(100 * (backbone - accuracy), abs=1e-3)
            assert found.reduction[r, c] == pytest.approx(1 - macs / 400, abs=1e-5)


def test_the_weights_of_a_resample_sum_to_one(drawn):
    assert drawn.drop.shape == drawn.reduction.shape == (RESAMPLES, 12)
    assert drawn.drop[:, 0] == pytest.approx(np.zeros(RESAMPLES), abs=1e-4)
    assert drawn.reduction[:, 0] == pytest.approx(np.zeros(RESAMPLES), abs=1e-6)


def test_the_resamples_scatter_about_what_was_measured(decisions, drawn):
    averaged = mean_over_seeds(decisions.table)
    for name in ("drop", "reduction"):
        samples = getattr(drawn, name)
        scatter = samples.std(axis=0)
        assert (scatter[1:] > 0).all()
        assert (np.abs(samples.mean(axis=0) - averaged[name]) <= 0.3 * scatter + 1e-4).all()


def test_equal_configurations_are_equal_in_every_resample(drawn):
    # A matrix product may sum equal columns in another order.
    assert drawn.drop[:, 1] == pytest.approx(drawn.drop[:, 4], abs=1e-4)
    assert drawn.reduction[:, 1] == pytest.approx(drawn.reduction[:, 4], abs=1e-6)
    assert np.abs(drawn.drop[:, 1] - drawn.drop[:, 2]).max() > 0.1


def in_order(decisions, order):
    """The same decisions, their rows in another order."""
    rows = {"correct": decisions.correct[order], "cost": decisions.cost[order]}
    return dataclasses.replace(decisions, table=decisions.table.iloc[order].reset_index(drop=True), **rows)


def test_rows_scheme_by_scheme_draw_as_rows_seed_by_seed_do(decisions, drawn):
    order = np.argsort(decisions.table["training"].eq("boosted"), kind="stable")
    by_scheme = in_order(decisions, order)
    assert by_scheme.table["seed"].tolist() != decisions.table["seed"].tolist()
    found = comparison.bootstrap(by_scheme, RESAMPLES, seed=7)
    assert np.array_equal(found.drop, drawn.drop)
    assert np.array_equal(found.reduction, drawn.reduction)


def test_seeds_of_other_configurations_are_refused(decisions):
    shuffled = in_order(decisions, np.r_[:12, 23, 12:23])
    with pytest.raises(ValueError, match="the seeds have other configurations, or in another order"):
        comparison.bootstrap(shuffled, 5, seed=0)


def test_draws_in_blocks_are_those_of_one_piece(decisions, drawn, monkeypatch):
    monkeypatch.setattr(comparison, "AT_ONCE", 7)
    in_blocks = comparison.bootstrap(decisions, RESAMPLES, seed=7)
    assert in_blocks.drop == pytest.approx(drawn.drop, abs=1e-4)
    assert in_blocks.reduction == pytest.approx(drawn.reduction, abs=1e-6)


def test_the_draws_follow_from_the_seed(decisions, drawn):
    again, other = (comparison.bootstrap(decisions, RESAMPLES, seed) for seed in (7, 8))
    assert np.array_equal(again.drop, drawn.drop)
    assert not np.array_equal(other.drop, drawn.drop)


def test_intervals_are_the_percentiles_of_the_resamples(decisions, drawn):
    averaged = mean_over_seeds(decisions.table)
    found = comparison.with_intervals(averaged, drawn, 0.9)
    added = ["drop_low", "drop_high", "reduction_low", "reduction_high"]
    assert list(found.columns) == [*averaged.columns, *added]
    pd.testing.assert_frame_equal(found[averaged.columns], averaged)
    assert found["drop_low"].to_numpy() == pytest.approx(np.percentile(drawn.drop, 5, axis=0))
    assert found["reduction_high"].to_numpy() == pytest.approx(np.percentile(drawn.reduction, 95, axis=0))


def curves(*shifts):
    """One curve a shift of its drop, with resamples that move all the curves together."""
    generator = np.random.default_rng(1)
    averaged = pd.concat([pd.DataFrame({"reduction": REDUCTION, "drop": DROP + shift}) for shift in shifts])
    averaged = averaged.reset_index(drop=True)
    moved = generator.normal(0, 0.2, (RESAMPLES, 3)), generator.normal(0, 0.01, (RESAMPLES, 3))
    return averaged, Resamples(
        drop=averaged["drop"].to_numpy() + np.tile(moved[0], len(shifts)),
        reduction=averaged["reduction"].to_numpy() + np.tile(moved[1], len(shifts)),
    )


@pytest.mark.parametrize("points", [1.0, 0.0, -0.5])
def test_a_curve_gains_what_it_is_shifted_by(points):
    averaged, drawn = curves(0.0, -points)
    table = comparison.gain(averaged, drawn, np.arange(3), np.arange(3, 6), 0.95, points=9)
    assert list(table.columns) == ["reduction", "gain", "low", "high"]
    assert table["reduction"].to_numpy()[:-1] == pytest.approx(np.linspace(0.1, 0.5, 9))
    assert table["reduction"].isna().tolist() == [False] * 9 + [True]
    for name in ("gain", "low", "high"):
        assert table[name].to_numpy() == pytest.approx(np.full(10, points))


def test_a_curve_gains_nothing_over_itself():
    averaged, drawn = curves(0.0)
    table = comparison.gain(averaged, drawn, np.arange(3), np.arange(3), 0.95)
    assert len(table) == 26
    assert (table[["gain", "low", "high"]] == 0).all(axis=None)


def test_curves_are_compared_where_both_reach_and_the_last_row_is_the_average():
    averaged = pd.DataFrame({"reduction": [0.0, 0.4, 0.2, 0.6], "drop": [0.0, 4.0, 1.0, 1.0]})
    drawn = Resamples(*(averaged[name].to_numpy()[None] for name in ("drop", "reduction")))
    table = comparison.gain(averaged, drawn, np.array([0, 1]), np.array([2, 3]), 0.95, points=3)
    assert table["reduction"].to_numpy()[:3] == pytest.approx([0.2, 0.3, 0.4])
    assert table["gain"].to_numpy() == pytest.approx([1, 2, 3, 2])
    assert table["low"].to_numpy() == pytest.approx([1, 2, 3, 2])


def cells(*shifts):
    """All four cells, each a curve with its own shift of the drop."""
    averaged, drawn = curves(*shifts)
    names = [(*cell, m) for cell in CELLS for m in MARGINS]
    averaged[["training", "calibration", "m1"]] = names
    averaged["accuracy"] = 0.9
    averaged = averaged[["training", "calibration", "m1", "accuracy", "drop", "reduction"]]
    return averaged.assign(valid_drop=averaged["drop"], valid_reduction=averaged["reduction"]), drawn


def test_every_cell_is_compared_with_the_baseline_at_equal_compute():
    averaged, drawn = cells(0.0, 0.0, 0.5, -1.0)
    table = comparison.gains_at_equal_compute(averaged, drawn, 0.95)
    assert len(table) == 3 * 26  # points of a grid, and the mean
    assert len(of_cell(table, BASELINE)) == 0
    for cell, points in zip(CELLS[1:], (0.0, -0.5, 1.0), strict=True):
        rows = of_cell(table, cell)
        assert rows["reduction"].isna().tolist() == [False] * 25 + [True]
        assert rows["gain"].to_numpy() == pytest.approx(np.full(26, points))


def test_a_gain_over_another_rival_is_that_between_the_two_fronts():
    averaged, drawn = cells(0.0, 0.25, 0.5, -1.0)
    found = comparison.gain_at_equal_compute(averaged, drawn, CALIBRATION_ALONE, BTS_EE, 0.95, points=4)
    assert found["gain"].to_numpy() == pytest.approx(np.full(5, 1.25))


def counts_of(averaged, drawn, baseline=BASELINE):
    pairs, counts = comparison.at_equal_margins(averaged, drawn, 0.95, baseline)
    assert list(counts.columns) == ["reading", "count", "low", "high"]
    return pairs, counts.set_index("reading").T.to_dict("list")


def test_a_table_is_neither_ahead_of_itself_nor_behind():
    averaged, drawn = cells(0.0, 0.0, 0.0, 0.0)
    pairs, counts = counts_of(averaged, drawn)
    assert list(pairs.columns) == ["m1", "less_drop", "more_reduction"]
    assert (pairs[["less_drop", "more_reduction"]] == 0).all(axis=None)
    readings = ["less accuracy lost", "better in both", "worse in both", "ahead"]
    assert counts == {reading: [0, 0, 0] for reading in readings}


@pytest.mark.parametrize(("baseline", "shift"), [(BASELINE, 0.0), (CALIBRATION_ALONE, 0.25)])
def test_who_loses_less_at_equal_margins_is_counted_against_either_rival(baseline, shift):
    averaged, drawn = cells(0.0, 0.25, 0.5, -1.0)
    pairs, counts = counts_of(averaged, drawn, baseline)
    assert pairs["less_drop"].to_numpy() == pytest.approx(np.full(3, 1 + shift))
    assert counts["less accuracy lost"] == [3, 3, 3]
    assert counts["better in both"] == [0, 0, 0], "it saves no more"


def test_ahead_is_better_in_both_less_worse_in_both_and_neither_counts_for_none():
    averaged, _ = cells(0.0, 0.0, 0.0, 0.0)
    last = averaged.index[-3:]
    averaged.loc[last, "reduction"] += [0.1, -0.1, 0.1]
    averaged.loc[last, "drop"] += [-0.5, 0.5, 0.5]  # better in both, worse in both, neither
    drawn = Resamples(*(averaged[name].to_numpy()[None] for name in ("drop", "reduction")))
    pairs, counts = counts_of(averaged, drawn)
    assert pairs["more_reduction"].to_numpy() == pytest.approx([0.1, -0.1, 0.1])
    assert {reading: count for reading, (count, _, _) in counts.items()} == {
        "less accuracy lost": 1,
        "better in both": 1,
        "worse in both": 1,
        "ahead": 0,
    }


def test_the_interval_of_a_count_is_that_of_the_resamples():
    averaged, drawn = cells(0.0, 0.0, 0.0, -0.1)
    noise = np.random.default_rng(3).normal(0, 0.2, drawn.drop.shape)
    noisy = Resamples(drawn.drop + noise, drawn.reduction)
    _, counts = counts_of(averaged, noisy)
    rows = [of_cell(averaged, cell).index for cell in (BASELINE, BTS_EE)]
    wins = (noisy.drop[:, rows[0]] > noisy.drop[:, rows[1]]).sum(1)
    assert counts["less accuracy lost"][1:] == pytest.approx(np.percentile(wins, [2.5, 97.5]))
    assert counts["less accuracy lost"][1] < 3


@pytest.fixture
def two_fronts():
    """A baseline, and a cascade that saves 20 % more for 0, 2 and 4 points."""
    rows = [("independent", "full", m) for m in MARGINS] + [("boosted", "survivors", m) for m in MARGINS]
    table = pd.DataFrame(rows, columns=["training", "calibration", "m1"])
    drop, reduction = np.concatenate([DROP, [0, 2, 4]]), np.concatenate([REDUCTION, REDUCTION + 0.2])
    return table.assign(
        accuracy=0.9, drop=drop, reduction=reduction, valid_drop=drop, valid_reduction=reduction
    )


def test_what_is_saved_more_for_an_equal_drop_is_read_along_both_fronts(two_fronts):
    drop, reduction = two_fronts["drop"].to_numpy(), two_fronts["reduction"].to_numpy()
    apart = 0.01 * np.arange(21)[:, None] * (np.arange(6) > 2)  # of the second front alone
    drawn = Resamples(np.stack([drop] * 21), reduction + apart)
    # Half-way between 1 and 3 points the first front saves 40 %; the second one is there with 50 %.
    found = comparison.at_equal_drop(two_fronts, drawn, BASELINE, BTS_EE, 2.0, 0.9)
    assert found.tolist() == pytest.approx([2.0, 10.0, 11.0, 29.0], abs=0.2)
    turned = comparison.at_equal_drop(two_fronts, drawn, BTS_EE, BASELINE, 2.0, 0.9)
    assert turned.tolist() == pytest.approx([2.0, -10.0, -29.0, -11.0], abs=0.2)
    in_step = Resamples(drawn.drop, reduction + 0.01 * np.arange(21)[:, None])
    found = comparison.at_equal_drop(two_fronts, in_step, BASELINE, BTS_EE, 2.0, 0.9)
    assert found.tolist() == pytest.approx([2.0, 10.0, 10.0, 10.0], abs=0.2)


def test_where_a_front_ends_before_the_allowed_drop_both_are_read_there_in_every_resample(two_fronts):
    drop, reduction = two_fronts["drop"].to_numpy(), two_fronts["reduction"].to_numpy()
    shifts = 0.1 * np.arange(11)[:, None]
    drawn = Resamples(drop + shifts, np.stack([reduction] * 11))
    found = comparison.at_equal_drop(two_fronts, drawn, BASELINE, BTS_EE, 10.0, 0.95)
    assert found.tolist() == pytest.approx([3.0, 10.0, 10.0, 10.0], abs=0.2)
    none_keeps_it = comparison.at_equal_drop(two_fronts, drawn, BASELINE, BTS_EE, -1.0, 0.95)
    assert np.isnan(none_keeps_it["more"])


def test_more_drop_never_saves_less_along_a_front_that_is_not_smooth():
    drop, reduction = np.array([0.1, 0.5, 0.3, 1.0]), np.array([0.2, 0.4, 0.5, 0.6])
    read = [comparison.most_saved(drop, reduction, allowed) for allowed in (0.1, 0.2, 0.3, 0.5, 1.0, 2.0)]
    assert read == sorted(read)
    assert read[0] == pytest.approx(0.2)
    assert read[2] == pytest.approx(0.5, abs=2e-3)
    assert read[-1] == pytest.approx(0.6)


def test_decisions_of_several_kinds_are_averaged_and_drawn_with_the_same_images_and_seeds(decisions, drawn):
    table = decisions.table
    first = (table["training"] == "independent").to_numpy()
    others = table[~first].rename(columns={"m1": "knob"})
    parts = [
        Decisions(rows, decisions.correct[mine], decisions.cost[mine], decisions.backbone_correct, 400)
        for mine, rows in ((first, table[first]), (~first, others))
    ]
    parameters = SimpleNamespace(resamples=RESAMPLES, seed=7, confidence=0.9)
    averaged, joined = comparison.averaged_and_drawn(parameters, *parts)
    assert np.allclose(joined.drop, drawn.drop, atol=1e-4)
    assert np.allclose(joined.reduction, drawn.reduction, atol=1e-6)
    assert averaged["drop"].tolist() == mean_over_seeds(table)["drop"].tolist()
    assert averaged["m1"].isna().tolist() == [False] * 6 + [True] * 6
    low, high = np.quantile(joined.drop, [0.05, 0.95], axis=0)
    assert np.allclose(averaged[["drop_low", "drop_high"]].T, [low, high])


def test_a_gain_can_be_looked_at_within_a_stretch(decisions, drawn):
    averaged = mean_over_seeds(decisions.table)
    base, other = (of_cell(averaged, cell).index.to_numpy() for cell in CELLS[:2])
    whole = comparison.gain(averaged, drawn, base, other, 0.9)
    start, end = whole["reduction"].iloc[[8, 16]]
    part = comparison.gain(averaged, drawn, base, other, 0.9, points=9, within=(start, end))
    pd.testing.assert_frame_equal(part.iloc[:-1], whole.iloc[8:17].reset_index(drop=True))
    assert part["gain"].iloc[-1] == pytest.approx(part["gain"].iloc[:-1].mean())
    nothing = comparison.gain(averaged, drawn, base, other, 0.9, within=(2, 3))
    assert nothing[["gain", "low", "high"]].isna().all(axis=None)
