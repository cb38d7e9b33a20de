import numpy as np
import pandas as pd
import pytest

from btsee_lib import config
from solar_cells import module_intervals

EVALUATION = config.EvaluationParameters(seed=0, resamples=200, confidence=0.95, max_drops=[1.0])


@pytest.fixture(scope="module")
def module():
    return np.arange(600) // 30


def test_the_difference_of_groups_of_other_modules_draws_from_the_modules_of_both(module):
    cells = pd.DataFrame({"label": 1, "missed": 0.0, "alarm": 0.0, "saved": 0.0, "position": np.arange(600)})
    cells["scheme"] = np.where(module < 10, "one", "other")
    cells.loc[module % 10 < 6, "missed"] = 1.0
    cells.loc[(cells["scheme"] == "other") & (module % 10 < 3), "missed"] = 0.0
    row = module_intervals.differences(cells, module, [("one", "other")], 3, EVALUATION).iloc[0]
    assert row["missed"] == pytest.approx(0.3 - 0.6)
    assert row["missed_low"] < row["missed"] < row["missed_high"]


def two_schemes(saved):
    """Cells of "one" and "other" in folds of three modules: the share saved, by scheme, fold and seed."""
    parts = [
        pd.DataFrame({"label": [0, 1, 0], "missed": 0.0, "alarm": 0.0, "saved": value}).assign(
            scheme=scheme, fold=fold, seed=seed, position=3 * fold + np.arange(3)
        )
        for (scheme, fold, seed), value in saved.items()
    ]
    alone = [{"scheme": s, "fold": f, "seed": n, "m1": 0.0 if v else np.nan} for (s, f, n), v in saved.items()]
    return pd.concat(parts, ignore_index=True), pd.DataFrame(alone)


def test_a_fold_and_seed_in_which_either_fell_back_counts_for_neither():
    cells, choices = two_schemes(
        {("one", 0, 0): 0.4, ("one", 0, 1): 0.0, ("one", 1, 0): 0.4, ("one", 1, 1): 0.4}
        | {("other", 0, 0): 0.5, ("other", 0, 1): 0.5, ("other", 1, 0): 0.0, ("other", 1, 1): 0.5}
    )
    left = module_intervals.without_fallbacks(cells, choices, ("one", "other"))
    pairs = left[["scheme", "fold", "seed"]].drop_duplicates()
    assert sorted(map(tuple, pairs.to_numpy())) == [(s, *n) for s in ("one", "other") for n in ((0, 0), (1, 1))]
    table = module_intervals.fallback_effect(cells, choices, np.arange(6), [("one", "other")], 3, EVALUATION)
    table = table.set_index("over")
    assert table["choices"].to_dict() == {"all choices": 4, "both ran": 2}
    assert table.loc["all choices", "saved"] == pytest.approx(0.375 - 0.3)
    assert table.loc["both ran", ["saved", "saved_low", "saved_high"]].tolist() == pytest.approx([0.1] * 3)


def test_without_fallbacks_nothing_is_left_out_and_with_nothing_but_them_there_is_no_difference():
    never, always = (
        two_schemes({(scheme, fold, 0): value for scheme in ("one", "other") for fold in (0, 1)})
        for value in (0.5, 0.0)
    )
    assert len(module_intervals.without_fallbacks(*never, ("one", "other"))) == len(never[0])
    table = module_intervals.fallback_effect(
        *always, np.arange(6), [("one", "other")], 3, EVALUATION
    ).set_index("over")
    assert table["choices"].to_dict() == {"all choices": 2, "both ran": 0}
    assert np.isnan(table.loc["both ran", "saved"])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.02, "more"),
        (-0.02, -0.01, "less"),
        (-0.01, 0.02, "cannot be told apart"),
        (0.0, 0.02, "cannot be told apart"),
        (np.nan, np.nan, "cannot be told apart"),
    ],
)
def test_a_direction_is_told_only_where_zero_is_outside_the_interval(low, high, word):
    assert module_intervals.direction(low, high) == word
    row = {"scheme": "one", "less": "other", "missed": (low + high) / 2, "missed_low": low, "missed_high": high}
    told = module_intervals.told(pd.DataFrame([row]), ["missed"]).splitlines()
    assert told[0] == "one, less other:"
    assert told[1].endswith(word)


def test_directions_are_counted_by_pair_and_measure():
    ends = [(-0.2, -0.1), (-0.1, 0.1), (0.1, 0.2), (0.1, 0.3)]
    rows = [{"scheme": "one", "less": "other", "missed_low": low, "missed_high": high} for low, high in ends]
    rows.append({"scheme": "one", "less": "third", "missed_low": -2.0, "missed_high": -1.0})
    counted = module_intervals.count_directions(pd.DataFrame(rows), ["missed"]).set_index("less")
    assert counted.loc["other", ["below zero", "holds zero", "above zero"]].tolist() == [1, 1, 2]
    assert counted.loc["third", ["below zero", "holds zero", "above zero"]].tolist() == [1, 0, 0]


def test_drawing_modules_widens_the_interval_where_cells_of_a_module_are_alike(module):
    label = np.ones(600, dtype=int)
    missed = (module % 2).astype(float)  # a module is missed as a whole, or not at all
    cells = pd.DataFrame({"label": label, "missed": missed, "alarm": 0.0, "saved": 0.0, "scheme": "one"})
    cells["position"] = np.arange(600)
    by_module, by_cell = (
        module_intervals.summarise(cells, groups, ["scheme"], 3, EVALUATION).iloc[0]
        for groups in (module, np.arange(600))
    )
    assert by_module["missed"] == by_cell["missed"] == pytest.approx(0.5)
    width = [each["missed_high"] - each["missed_low"] for each in (by_module, by_cell)]
    assert width[0] > 3 * width[1]
