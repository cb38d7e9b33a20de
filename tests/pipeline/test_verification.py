import pandas as pd
import pytest

from btsee_lib.pipeline import verification

RECORDED = pd.DataFrame(
    {
        "claim": ["1 one", "2 two", "7 seven"],
        "measured": [3.0, 0.5, None],
        "low": [2.0, -0.1, None],
        "high": [4.0, 1.1, None],
        "verdict": ["reproduced here", "not reproduced here", "not testable here"],
    }
)


def test_the_same_table_agrees_with_itself():
    found = verification.compare(RECORDED, RECORDED)
    assert list(found.columns) == ["claim", "recorded", "here", "tolerance", "within", "same_verdict"]
    assert found["within"].all()
    assert found["same_verdict"].all()
    assert found["tolerance"].tolist()[:2] == pytest.approx([2.0, 1.2])


def test_a_value_further_off_than_the_recorded_interval_is_wide_is_told():
    here = RECORDED.assign(measured=[5.5, 0.5, None])
    assert verification.compare(RECORDED, here)["within"].tolist() == [False, True, True]


@pytest.fixture
def copies(workspace):
    """The main experiment and a copy of the repository, each with its table of claims."""

    def write(root, table):
        (root / "reports" / "tables").mkdir(parents=True)
        table.to_csv(root / "reports" / "tables" / "claims.csv", index=False)

    write(workspace, RECORDED)
    return lambda here: write(workspace / "copy", here)


def test_equal_verdicts_pass(copies, capsys):
    copies(RECORDED.assign(measured=[3.5, 0.4, None]))
    verification.verify("copy")
    assert "all 3 verdicts are the same" in capsys.readouterr().out


def test_other_threads_are_named_beside_verdicts_that_differ(copies, workspace):
    copies(RECORDED.assign(verdict="not testable here"))
    table = workspace / "reports" / "tables" / "conditions.csv"
    table.write_text("name,value\nthreads,96\n")
    with pytest.raises(SystemExit, match=r"2 of 3 verdicts differ .*\(recorded with threads 96, here \d+\)"):
        verification.verify("copy")


def test_another_verdict_or_a_claim_that_is_gone_fails_by_name(copies):
    other = RECORDED.assign(verdict=["reproduced here", "reproduced here", "not testable here"]).drop(index=0)
    copies(other)
    with pytest.raises(SystemExit, match="2 of 3 verdicts differ on this machine: 1 one; 2 two"):
        verification.verify("copy")
