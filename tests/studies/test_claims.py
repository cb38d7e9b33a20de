import math
import statistics

import pytest

from btsee_lib.studies.claims import (
    COLUMNS,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    VERDICTS,
    claims_table,
    over_backbones,
)

TRIPLES = {
    "shift.mix": (20.0, 18.0, 22.0),
    "shift.beyond": (3.0, 2.0, 4.0),
    "boosting.gain.2": (0.5, 0.2, 0.8),
    "boosting.gain.3": (0.4, 0.1, 0.7),
    "cpm.survivors.2.shortfall": (0.5, 0.1, 0.9),
    "evaluation.full.less_lost": (60, 50, 64),
    "evaluation.full.ahead": (20, 10, 30),
    "evaluation.full.gain": (0.3, 0.1, 0.5),
    "evaluation.survivors.less_lost": (40, 33, 50),
    "evaluation.survivors.ahead": (10, 1, 20),
    "evaluation.survivors.gain": (0.2, 0.1, 0.3),
    "recommended.2.reduction": (0.5, 0.46, 0.54),
    "recommended.2.drop": (1.5, 1.2, 1.8),
    "recommended.1.reduction": (0.48, 0.455, 0.52),
    "recommended.1.drop": (0.9, 0.6, 1.1),
    "evaluation.full.equal_drop": (3.0, 2.0, 4.0),
    "evaluation.first_branch.equal_drop": (2.0, 1.0, 3.0),
}
NUMBERS = {
    "branches.largest_share": 0.01,
    "shift.mix_by_chance": 2.0,
    "shift.fall": 14.0,
    "shift.fall_of_backbone": 11.0,
    "shift.fall_expected": 12.0,
    "evaluation.configurations": 64,
    "evaluation.full.equal_drop.at": 2.0,
    "evaluation.first_branch.equal_drop.at": 1.8,
} | {
    f"{name}{end}": value
    for name, values in TRIPLES.items()
    for end, value in zip(("", "_low", "_high"), values, strict=True)
}
CLAIMS = ["1a", "1b", "2", "2", "3", "4", "5a", "5b", "5c", "5a", "5b", "5c", "6a", "6a", "6b", "6b", "7"]


def verdicts(numbers):
    return claims_table(numbers)["verdict"].tolist()


def test_every_claim_has_its_rows_each_with_its_numbers():
    table = claims_table(NUMBERS)
    assert list(table.columns) == COLUMNS
    assert COLUMNS == ["claim", "paper", "measured", "low", "high", "verdict", "note"]
    assert [claim.split()[0] for claim in table["claim"]] == CLAIMS
    assert table["claim"].is_unique
    assert table["measured"].tolist()[:16] == pytest.approx(
        [20, 3, 0.5, 0.4, 1, 0.5, 60, 20, 0.3, 40, 10, 0.2, 50, 48, 3, 2]
    )
    assert table["low"].tolist()[:16] == pytest.approx(
        [18, 2, 0.2, 0.1, 1, 0.1, 50, 10, 0.1, 33, 1, 0.1, 46, 45.5, 2, 1]
    )
    assert table["high"].tolist()[:16] == pytest.approx(
        [22, 4, 0.8, 0.7, 1, 0.9, 64, 30, 0.5, 50, 20, 0.3, 54, 52, 4, 3]
    )
    assert table.loc[16, ["measured", "low", "high"]].isna().all()
    assert table["verdict"].isin(VERDICTS).all()
    assert table["note"].str.len().min() > 20


def test_where_all_hold_all_but_the_last_are_reproduced():
    assert verdicts(NUMBERS) == [REPRODUCED] * 16 + [NOT_TESTABLE]


@pytest.mark.parametrize(
    ("row", "name", "holds", "fails"),
    [
        (0, "shift.mix_low", 2.001, 2.0),
        (0, "shift.mix_by_chance", 17.9, 18.0),
        (1, "shift.beyond_low", 0.001, 0.0),
        (2, "boosting.gain.2_low", 0.001, 0.0),
        (3, "boosting.gain.3_low", 0.001, 0.0),
        (4, "branches.largest_share", 0.015, 0.0151),
        (5, "cpm.survivors.2.shortfall_high", 1.0, 1.001),
        (6, "evaluation.full.less_lost_low", 33, 32),
        (7, "evaluation.full.ahead_low", 1, 0),
        (8, "evaluation.full.gain_low", 0.001, 0.0),
        (9, "evaluation.survivors.less_lost_low", 33, 32),
        (10, "evaluation.survivors.ahead_low", 1, 0),
        (11, "evaluation.survivors.gain_low", 0.001, 0.0),
        (12, "recommended.2.reduction_low", 0.45, 0.449),
        (12, "recommended.2.drop_high", 2.0, 2.001),
        (13, "recommended.1.reduction_low", 0.45, 0.449),
        (13, "recommended.1.drop_high", 2.0, 2.001),
        (14, "evaluation.full.equal_drop_low", 0.001, 0.0),
        (15, "evaluation.first_branch.equal_drop_low", 0.001, 0.0),
    ],
)
def test_a_verdict_turns_at_its_rule_and_leaves_the_others_alone(row, name, holds, fails):
    for value, expected in ((holds, REPRODUCED), (fails, NOT_REPRODUCED)):
        found = verdicts(NUMBERS | {name: value})
        assert found.pop(row) == expected
        assert found == [REPRODUCED] * 15 + [NOT_TESTABLE]


@pytest.mark.parametrize("gone", [math.nan, None, "missing"])
@pytest.mark.parametrize(
    ("row", "name"),
    [
        (0, "shift.mix"),
        (0, "shift.mix_by_chance"),
        (1, "shift.beyond_high"),
        (2, "boosting.gain.2_high"),
        (4, "branches.largest_share"),
        (5, "cpm.survivors.2.shortfall_low"),
        (6, "evaluation.full.less_lost_low"),
        (8, "evaluation.full.gain"),
        (12, "recommended.2.reduction"),
        (12, "recommended.2.drop_high"),
        (13, "recommended.1.reduction_high"),
        (15, "evaluation.first_branch.equal_drop"),
    ],
)
def test_a_number_that_is_not_there_leaves_its_claim_untestable(row, name, gone):
    numbers = {key: value for key, value in NUMBERS.items() if key != name or gone != "missing"}
    if gone != "missing":
        numbers[name] = gone
    found = verdicts(numbers)
    assert found.pop(row) == NOT_TESTABLE
    assert found == [REPRODUCED] * 15 + [NOT_TESTABLE]


def test_the_branches_of_claim_2_are_those_that_were_measured():
    deeper = NUMBERS | {
        f"boosting.gain.4{end}": NUMBERS[f"boosting.gain.3{end}"] for end in ("", "_low", "_high")
    }
    rows = claims_table(deeper)["claim"]
    assert rows[rows.str.startswith("2 ")].str.split().str[-1].tolist() == ["2", "3", "4"]


def test_claim_4_is_judged_branch_by_branch():
    """What one branch gives away, another one cannot make good."""
    both = NUMBERS | {
        f"cpm.survivors.3.shortfall{end}": value for end, value in {"": 5, "_low": 4, "_high": 6}.items()
    }
    rows = claims_table(both).query("claim.str.startswith('4')")
    assert rows["claim"].str.split().str[-1].tolist() == ["2", "3"]
    assert rows["verdict"].tolist() == [REPRODUCED, NOT_REPRODUCED]


@pytest.mark.parametrize("number", [0, 61])
def test_what_calibration_alone_does_stands_beside_what_bts_ee_does(number):
    notes = claims_table(NUMBERS | {"evaluation.full.less_lost_by_calibration": number})["note"]
    told = notes[notes.str.contains(f"({number} by calibration on survivors alone)", regex=False)]
    assert told.index.tolist() == [6]


def test_without_narrower_networks_no_fall_is_expected_of_one():
    alone = {
        name: value
        for name, value in NUMBERS.items()
        if not name.startswith(("shift.beyond", "shift.fall_exp"))
    }
    row = claims_table(alone).iloc[1]
    assert row["verdict"] == NOT_TESTABLE
    assert "nan" not in row["note"] and "narrower" not in row["note"]


def test_what_was_measured_after_each_schemes_own_best_visits_has_rows_of_its_own():
    names = ("boosting.own_visits.gain.2", "boosting.own_visits.gain.3", "evaluation.own_visits.gain")
    numbers = NUMBERS | {
        f"{name}{end}": value
        for name in names
        for end, value in {"": -1.0, "_low": -2.0, "_high": -0.5}.items()
    }
    table = claims_table(numbers).set_index("claim")
    own = table[table.index.str.endswith("each after its own best visits")]
    assert [claim.split()[0] for claim in own.index] == ["2", "2", "5c"]
    assert (own["measured"] == -1).all()
    assert set(own["verdict"]) == {NOT_REPRODUCED}
    assert table.drop(own.index)["verdict"].tolist() == verdicts(NUMBERS)


def test_a_claim_that_was_not_asked_of_every_backbone_is_not_counted():
    earlier = claims_table(NUMBERS)
    found = over_backbones({0: earlier, 1: earlier[~earlier["claim"].str.startswith("5c")]}, 0.95)
    assert len(found) == 14 and (found["backbones"] == 2).all()


def test_a_claim_that_cannot_be_tested_on_every_backbone_is_not_counted():
    numbers = {name: value for name, value in NUMBERS.items() if not name.startswith("shift.beyond")}
    found = over_backbones({0: claims_table(NUMBERS), 1: claims_table(numbers)}, 0.95)
    assert len(found) == 15 and not found["claim"].str.startswith("1b").any()


def test_without_numbers_nothing_is_testable():
    assert set(verdicts({})) == {NOT_TESTABLE}


def test_over_backbones_a_claim_counts_its_published_verdict_and_has_the_interval_of_students_t():
    on_others = [NUMBERS | {"shift.beyond": value, "shift.beyond_low": value - 1} for value in (5.0, 0.5)]
    tables = {seed: claims_table(numbers) for seed, numbers in enumerate([NUMBERS, *on_others])}
    found = over_backbones(tables, 0.95).set_index("claim")
    assert len(found) == 16  # the last reading cannot be tested
    row = found.loc[tables[0]["claim"][1]]
    assert (row["backbones"], row["same"]) == (3, 2)
    values = [3.0, 5.0, 0.5]
    reach = 4.302653 * statistics.stdev(values) / math.sqrt(3)
    assert row["mean"] == pytest.approx(statistics.mean(values))
    assert (row["low"], row["high"]) == pytest.approx((row["mean"] - reach, row["mean"] + reach), rel=1e-5)
    others = found.drop(index=row.name)
    assert (others["same"] == 3).all()
    assert others["low"].tolist() == others["high"].tolist()
