import math

import pytest

from btsee_lib.studies.claims import COLUMNS, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, VERDICTS, claims_table

TRIPLES = {
    "shift.fall": (5.0, 4.0, 6.0),
    "boosting.gain": (0.5, 0.2, 0.8),
    "cpm.survivors.later.shortfall": (0.5, 0.1, 0.9),
    "evaluation.wins": (50, 40, 60),
    "evaluation.gain": (0.3, 0.1, 0.5),
    "recommended.2.reduction": (0.5, 0.46, 0.54),
    "recommended.2.drop": (1.5, 1.2, 1.8),
}
NUMBERS = {"branches.largest_share": 0.01, "cpm.survivors.all.shortfall": 0.3} | {
    f"{name}{end}": value
    for name, values in TRIPLES.items()
    for end, value in zip(("", "_low", "_high"), values, strict=True)
}


def verdicts(numbers):
    return claims_table(numbers)["verdict"].tolist()


def test_there_are_seven_claims_each_with_its_numbers():
    table = claims_table(NUMBERS)
    assert list(table.columns) == COLUMNS
    assert COLUMNS == ["claim", "paper", "measured", "low", "high", "verdict", "note"]
    assert [claim.split()[0] for claim in table["claim"]] == list("1234567")
    assert table["measured"].tolist()[:6] == pytest.approx([5, 0.5, 1, 0.5, 50, 50])
    assert table["low"].tolist()[:6] == pytest.approx([4, 0.2, 1, 0.1, 40, 46])
    assert table["high"].tolist()[:6] == pytest.approx([6, 0.8, 1, 0.9, 60, 54])
    assert table.loc[6, ["measured", "low", "high"]].isna().all()
    assert table["verdict"].isin(VERDICTS).all()
    assert table["note"].str.len().min() > 20


def test_where_all_hold_all_but_the_last_are_reproduced():
    assert verdicts(NUMBERS) == [REPRODUCED] * 6 + [NOT_TESTABLE]


@pytest.mark.parametrize(
    ("claim", "name", "holds", "fails"),
    [
        (1, "shift.fall_low", 0.001, 0.0),
        (2, "boosting.gain_low", 0.001, 0.0),
        (3, "branches.largest_share", 0.015, 0.0151),
        (4, "cpm.survivors.later.shortfall_high", 1.0, 1.001),
        (5, "evaluation.wins_low", 33, 32),
        (5, "evaluation.gain_low", 0.001, 0.0),
        (6, "recommended.2.reduction_low", 0.45, 0.449),
        (6, "recommended.2.drop_high", 2.0, 2.001),
    ],
)
def test_a_verdict_turns_at_its_rule_and_leaves_the_others_alone(claim, name, holds, fails):
    for value, expected in ((holds, REPRODUCED), (fails, NOT_REPRODUCED)):
        found = verdicts(NUMBERS | {name: value})
        assert found.pop(claim - 1) == expected
        assert found == [REPRODUCED] * 5 + [NOT_TESTABLE]


@pytest.mark.parametrize("gone", [math.nan, None, "missing"])
@pytest.mark.parametrize(
    ("claim", "name"),
    [
        (1, "shift.fall"),
        (2, "boosting.gain_high"),
        (3, "branches.largest_share"),
        (4, "cpm.survivors.later.shortfall_low"),
        (5, "evaluation.wins_low"),
        (5, "evaluation.gain"),
        (6, "recommended.2.reduction"),
        (6, "recommended.2.drop_high"),
    ],
)
def test_a_number_that_is_not_there_leaves_its_claim_untestable(claim, name, gone):
    numbers = {key: value for key, value in NUMBERS.items() if key != name or gone != "missing"}
    if gone != "missing":
        numbers[name] = gone
    found = verdicts(numbers)
    assert found.pop(claim - 1) == NOT_TESTABLE
    assert found == [REPRODUCED] * 5 + [NOT_TESTABLE]


def test_without_numbers_nothing_is_testable():
    assert verdicts({}) == [NOT_TESTABLE] * 7
