import numpy as np
import pandas as pd
import pytest

from solar_cells import elpv, leakage


def test_dealt_at_random_modules_are_on_both_sides_and_the_table_tells(cells):
    ways = {"at random": leakage.random_folds(cells, 3, 0), "by module": elpv.folds_of(cells, 3)}
    table = leakage.by_split(cells, ways)
    assert table.groupby("split").size().to_dict() == {"at random": 3, "by module": 3}
    assert (table[table["split"] == "by module"]["same_module"] == 0).all()
    assert table[table["split"] == "at random"]["same_module"].mean() > 0


def test_every_seed_deals_anew_and_the_first_deal_is_that_of_its_folds(cells):
    table = leakage.by_deal(cells, 3, (0, 1))
    assert table.groupby(["seed", "split"]).size().tolist() == [3] * 4
    ways = {leakage.AT_RANDOM: leakage.random_folds(cells, 3, 1), leakage.BY_MODULE: elpv.folds_of(cells, 3, 1)}
    again = leakage.by_split(cells, ways)
    second = table[table["seed"] == 1].drop(columns="seed").reset_index(drop=True)
    pd.testing.assert_frame_equal(second, again)


def test_a_gap_is_positive_where_dealing_at_random_looks_better():
    accuracy = {("at random", 0): (0.8, 0.7), ("by module", 0): (0.9, 0.5)}
    accuracy |= {("at random", 1): (0.6, 0.6), ("by module", 1): (0.7, 0.6)}
    rows = [
        {"seed": seed, "split": split, "fold": fold, "accuracy": value}
        for (split, seed), values in accuracy.items()
        for fold, value in enumerate(values)
    ]
    found = leakage.gaps(pd.DataFrame(rows))
    assert found["seed"].tolist() == [0, 1]
    assert found["gap"].tolist() == pytest.approx([5, -5])
    assert found["range_at_random"].tolist() == pytest.approx([10, 0])
    assert found["range_by_module"].tolist() == pytest.approx([40, 10])


def test_the_module_alone_is_right_where_its_majority_is(cells):
    modules = np.unique(cells.module)
    majority = [max(np.bincount(cells.labels[cells.module == module])) for module in modules]
    assert leakage.by_module_alone(cells) == pytest.approx(sum(majority) / len(cells.labels))
