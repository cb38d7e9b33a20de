"""The seven claims of the paper's abstract, each with a measured value, an interval and a verdict."""

import math

import pandas as pd

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced here", "not reproduced here", "not testable here"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE)
COLUMNS = ["claim", "paper", "measured", "low", "high", "verdict", "note"]
MOST_SHORTFALL = 1.0  # points that the precision of what leaves may lie below its bar
LIGHT = 0.015  # share of the backbone's MACs that a light branch may cost
PAPER_REDUCTION, PAPER_DROP = 0.45, 2.0


def claims_table(numbers: dict[str, float]) -> pd.DataFrame:
    """Judge the claims by the numbers that the notebooks recorded.

    Parameters
    ----------
    numbers : of ``reports/metrics.json``; the names that are read stand below.

    Returns
    -------
    DataFrame
        ``claim, paper, measured, low, high, verdict, note``. A verdict follows from the interval, by
        the rule that the note states; a number that is missing or nan leaves it untestable.
    """

    def triple(name: str) -> tuple[float, float, float]:
        return tuple(_value(numbers, key) for key in (name, f"{name}_low", f"{name}_high"))

    fall, gain = triple("shift.fall"), triple("boosting.gain")
    short, wins = triple("cpm.survivors.later.shortfall"), triple("evaluation.wins")
    saved, drop = triple("recommended.2.reduction"), triple("recommended.2.drop")
    equal_gain = triple("evaluation.gain")
    share = _value(numbers, "branches.largest_share")
    rows = [
        (
            "1 covariance shift: branches meet harder images than they were trained on",
            "stated",
            *fall,
            _verdict(fall[1] > 0, fall),
            "points by which branch 2 is less often right on survivors; holds if the interval is above 0",
        ),
        (
            "2 training branches in sequence, on survivors",
            "better",
            *gain,
            _verdict(gain[1] > 0, gain),
            "points gained on survivors by boosted over independent training; holds if the interval is above 0",
        ),
        (
            "3 lightweight branches of 1-D convolutions",
            "lightweight",
            *(3 * [100 * share]),
            _verdict(share <= LIGHT, [share]),
            f"% of the backbone's MACs, dearest branch, exact count; holds up to {100 * LIGHT:g} %",
        ),
        (
            "4 CPM: thresholds per class give reliable exits",
            "reliable",
            *short,
            _verdict(short[2] <= MOST_SHORTFALL, short),
            "points by which exits of branches 2 and 3 fall short of their bar on test; "
            f"holds if the interval is below {MOST_SHORTFALL:g}; with branch 1, which meets all images: "
            f"{_value(numbers, 'cpm.survivors.all.shortfall'):.2f}",
        ),
        (
            "5 BTS-EE beats non-boosted training across 64 configurations",
            "consistently",
            *wins,
            _verdict(equal_gain[1] > 0 and wins[1] > 32, [*wins, *equal_gain]),
            f"wins of 64 at equal compute; front against front {equal_gain[0]:+.2f} points "
            f"({equal_gain[1]:+.2f} to {equal_gain[2]:+.2f}); holds if both intervals are above chance",
        ),
        (
            "6 up to 45 % less computation at 2 points of accuracy",
            "45 %",
            *(100 * value for value in saved),
            _verdict(saved[1] >= PAPER_REDUCTION and drop[2] <= PAPER_DROP, [*saved, *drop]),
            f"% of MACs saved, chosen on valid, at a drop of {drop[0]:.2f} points "
            f"({drop[1]:.2f} to {drop[2]:.2f}); both intervals must keep {100 * PAPER_REDUCTION:g} % "
            f"and {PAPER_DROP:g} points; another data set and a narrower backbone than the paper's",
        ),
        (
            "7 useful where latency and power are bounded",
            "stated",
            *(3 * [math.nan]),
            NOT_TESTABLE,
            "no small device and no energy counter was at hand; "
            "notebook 06 measures time on the machine that ran it",
        ),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def side_by_side(experiments: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Set the claims of experiments, by name, beside each other: a row a claim, a column an experiment."""
    columns = {
        name: table.set_index("claim").apply(
            lambda row: (
                row["verdict"]
                if row["verdict"] == NOT_TESTABLE
                else f"{row['verdict']}: {row['measured']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            ),
            axis=1,
        )
        for name, table in experiments.items()
    }
    return pd.DataFrame(columns).rename_axis("claim").reset_index()


def _value(numbers: dict[str, float], name: str) -> float:
    value = numbers.get(name)
    return math.nan if value is None else value


def _verdict(holds: bool, values: list[float]) -> str:
    if any(math.isnan(value) for value in values):
        return NOT_TESTABLE
    return REPRODUCED if holds else NOT_REPRODUCED
