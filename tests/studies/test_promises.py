import numpy as np
import pandas as pd
import pytest

from btsee_lib.boosting import backbone_precision, calibration_terms
from btsee_lib.calibration import calibrate, confidence_and_class
from btsee_lib.studies import promises
from btsee_lib.studies.promises import Promises
from btsee_lib.uncertainty import share_interval

IMAGES, CLASSES = 120, 3  # of the test split
CHECKED = (-0.5, 0.0, 0.1)  # the first asks for more than certainty


@pytest.fixture(scope="module")
def checked(made_up_trees, loose_boosting_parameters):
    features, trees = made_up_trees
    configurations = [[margin] * 3 for margin in CHECKED]
    return promises.check_promises(trees, features, loose_boosting_parameters, configurations)


def exits_by_hand(sure, predicted, thresholds):
    """For each image the branch at which it leaves, or 3."""
    return [
        next((b for b in range(3) if sure[b, i] >= thresholds[b, predicted[b, i]]), 3)
        for i in range(sure.shape[1])
    ]


@pytest.mark.parametrize("calibration", ["full", "survivors"])
def test_promises_agree_with_a_plain_loop(made_up_trees, loose_boosting_parameters, checked, calibration):
    features, (_, tree) = made_up_trees
    valid, test = features["valid"], features["test"]
    bars = backbone_precision(features) - 0.1
    outputs = {name: confidence_and_class(tree.logits[name]) for name in ("valid", "test")}
    terms = calibration_terms(features, loose_boosting_parameters)
    thresholds = calibrate(*outputs["valid"], valid.labels, [0.1] * 3, terms, calibration)
    taken = exits_by_hand(*outputs["test"], thresholds)
    expected = []
    for b in range(3):
        for c in range(CLASSES):
            gone = [i for i in range(IMAGES) if taken[i] == b and outputs["test"][1][b, i] == c]
            hits = sum(int(test.labels[i]) == c for i in gone)
            if gone:
                low, high = share_interval(hits, len(gone))
                bar = float(bars[c])
                broken = high < bar
                share = hits / len(gone)
                expected.append((b + 1, c, bar, len(gone), share, low, high, False, broken))
    table = checked.table
    rows = table[(table["seed"] == 1) & (table["calibration"] == calibration) & (table["margin"] == 0.1)]
    columns = ["branch", "class_number", "bar", "exits", "precision", "low", "high", "at_ceiling", "broken"]
    assert list(table.columns) == ["seed", "calibration", "margin", *columns]
    assert len(expected) > 5
    pd.testing.assert_frame_equal(
        rows[columns].reset_index(drop=True), pd.DataFrame(expected, columns=columns), check_dtype=False
    )


def test_a_bar_at_the_ceiling_is_never_called_broken(checked):
    table = checked.table
    assert table["at_ceiling"].tolist() == (table["bar"] >= 1).tolist()
    assert table.loc[table["margin"] == -0.5, "at_ceiling"].all()
    assert not table.loc[table["margin"] == 0.1, "at_ceiling"].any()
    assert (table["high"] < table["bar"])[table["at_ceiling"]].any()
    assert not table.loc[table["at_ceiling"], "broken"].any()


def test_what_is_counted_by_image_is_what_is_counted_by_class(checked):
    for (calibration, branch), rows in checked.table.groupby(["calibration", "branch"]):
        exits, missing = (of[calibration, branch] for of in (checked.exits, checked.missing))
        assert len(exits) == len(missing) == IMAGES
        assert exits.sum() == rows["exits"].sum()
        assert missing.sum() == pytest.approx((rows["exits"] * (rows["bar"] - rows["precision"])).sum())
        assert (missing[exits == 0] == 0).all()


def test_the_first_branch_promises_the_same_under_both_calibrations(checked):
    assert np.array_equal(checked.exits["full", 1], checked.exits["survivors", 1])
    assert not np.array_equal(checked.exits["full", 3], checked.exits["survivors", 3])


def test_the_summary_of_promises_by_hand():
    rows = [
        ("full", 1, False, True),
        ("full", 1, False, False),
        ("full", 1, True, False),
        ("full", 2, False, True),
        ("survivors", 1, False, False),
        ("survivors", 2, True, False),
        ("survivors", 3, False, False),
    ]
    table = pd.DataFrame(rows, columns=["calibration", "branch", "at_ceiling", "broken"])
    short = {"full": {1: 0.01, 2: 0.04, 3: 0.04}, "survivors": {1: 0.02, 2: -0.01, 3: -0.01}}
    exits = {(name, b): np.full(20, float(number)) for name in short for b, number in ((1, 2), (2, 1), (3, 1))}
    missing = {(name, b): short[name][b] * exits[name, b] for name, b in exits}
    found = promises.promise_summary(Promises(table, missing, exits))
    assert list(found.columns) == [
        *("calibration", "branches", "shortfall", "shortfall_low", "shortfall_high", "broken"),
    ]
    assert found["calibration"].tolist() == ["full"] * 5 + ["survivors"] * 5
    assert found["branches"].tolist() == ["1", "2", "3", "later", "all"] * 2
    # Half of what leaves does so at branch 1; every image is as short as any other, so nothing scatters.
    expected = [1, 4, 4, 4, 2.5, 2, -1, -1, -1, 0.5]
    for name in ("shortfall", "shortfall_low", "shortfall_high"):
        assert found[name].to_numpy() == pytest.approx(expected)
    nan = float("nan")
    broken = [1 / 2, 1, nan, 1, 2 / 3, 0, nan, 0, 0, 0]
    assert found["broken"].to_numpy(dtype=float) == pytest.approx(broken, nan_ok=True)


def test_the_interval_of_a_shortfall_holds_it(checked):
    found = promises.promise_summary(checked)
    assert (found["shortfall_low"] < found["shortfall"]).all()
    assert (found["shortfall"] < found["shortfall_high"]).all()


def test_where_nothing_leaves_nothing_is_promised_and_every_branch_has_its_row(
    made_up_trees, loose_boosting_parameters, checked
):
    features, trees = made_up_trees
    strict = loose_boosting_parameters.model_copy(update={"min_support": 10_000})
    found = promises.check_promises(trees, features, strict, [[0.0] * 3])
    assert len(found.table) == 0
    assert list(found.table.columns) == list(checked.table.columns)
    summary = promises.promise_summary(found)
    assert summary["branches"].tolist() == ["1", "2", "3", "later", "all"] * 2
    assert (summary["shortfall"] == 0).all()
