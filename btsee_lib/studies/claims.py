"""The claims of the paper's abstract, each with a measured value, an interval and a verdict.

A claim that can be read in several ways, or that is one for each branch, has a row for each. The rule of a
verdict stands in its note and is the same for every experiment.
"""

import math
import re
from collections.abc import Iterator, Sequence

import pandas as pd

from btsee_lib.evaluation import BASELINE, CALIBRATION_ALONE, FIRST_BRANCH
from btsee_lib.uncertainty import mean_interval

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced here", "not reproduced here", "not testable here"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE)
COLUMNS = ["claim", "paper", "measured", "low", "high", "verdict", "note"]
MOST_SHORTFALL = 1.0  # points that the precision of what leaves may lie below its bar
LIGHT = 0.015  # share of the backbone's MACs that a light branch may cost
PAPER_REDUCTION, PAPER_DROP = 0.45, 2.0
RIVALS = {BASELINE: "conventional cascade", CALIBRATION_ALONE: "same calibration, trained on all"}
OWN = "each after its own best visits"  # of branches whose number of visits valid chose for each scheme
SIMPLER = {BASELINE: "the conventional cascade", FIRST_BRANCH: "branch 1 alone"}  # what claim 6 is set against

FRONTS = "points, front against front, averaged over what both reach"
UNTESTED = (
    "no small device and no energy counter was at hand; notebook 10 measures time on the machine that ran it"
)

Numbers = dict[str, float | None]


def claims_table(numbers: Numbers) -> pd.DataFrame:
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
    rows = [
        *_shift(numbers),
        *_sequence(numbers),
        _light(numbers),
        *_reliable(numbers),
        *_ahead(numbers),
        *_headline(numbers),
        ("7 useful where latency and power are bounded", "stated", *(3 * [math.nan]), NOT_TESTABLE, UNTESTED),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _shift(numbers: Numbers) -> Iterator[tuple]:
    mix, chance = _triple(numbers, "shift.mix"), _value(numbers, "shift.mix_by_chance")
    yield (
        "1a covariance shift: survivors are another population than all images",
        "stated",
        *mix,
        _verdict(mix[1] > chance, [*mix, chance]),
        "% of the survivors of branch 1 that would have to be of another class for the mix of all images; "
        f"holds if the interval is above what as many random images reach, {chance:.1f}",
    )
    note = "points, mean over the seeds; branch 2 of the first falls by {:.1f} from all images to survivors, "
    note += "the backbone by {:.1f}"
    if "shift.fall_expected" in numbers:
        note += ", a network of its accuracy, on a line through the backbone and narrower ones, by {:.1f}"
    falls = (_value(numbers, f"shift.{name}") for name in ("fall", "fall_of_backbone", "fall_expected"))
    claim = "1b covariance shift: branch 2 falls further on survivors than a network of its accuracy"
    yield _above_zero(claim, "stated", _triple(numbers, "shift.beyond"), note.format(*falls))


def _sequence(numbers: Numbers) -> Iterator[tuple]:
    equal = _matching(numbers, r"boosting\.gain\.\d+")
    own = _matching(numbers, r"boosting\.own_visits\.gain\.\d+")
    for name in [*(equal or ["boosting.gain.2"]), *own]:
        branch = f"branch {name.split('.')[-1]}" + (f", {OWN}" if name in own else "")
        claim = f"2 training branches in sequence, on survivors: {branch}"
        visits = OWN if name in own else "at equal visits"
        note = f"points gained on survivors by boosted over independent training, {visits}"
        yield _above_zero(claim, "better", _triple(numbers, name), note)


def _light(numbers: Numbers) -> tuple:
    share = _value(numbers, "branches.largest_share")
    claim, verdict = "3 lightweight branches of 1-D convolutions", _verdict(share <= LIGHT, [share])
    note = f"% of the backbone's MACs, dearest branch, exact count; holds up to {100 * LIGHT:g} %"
    return claim, "lightweight", *(3 * [100 * share]), verdict, note


def _reliable(numbers: Numbers) -> Iterator[tuple]:
    found = _matching(numbers, r"cpm\.survivors\.\d+\.shortfall")
    for name in found or ["cpm.survivors.2.shortfall"]:
        short, branch = _triple(numbers, name), name.split(".")[2]
        yield (
            f"4 CPM: thresholds per class give reliable exits: branch {branch}",
            "reliable",
            *short,
            _verdict(short[2] <= MOST_SHORTFALL, short),
            f"points by which exits of boosted branches fall short of their bar on test, calibrated on "
            f"survivors; holds if the interval is below {MOST_SHORTFALL:g}",
        )


def _ahead(numbers: Numbers) -> Iterator[tuple]:
    total = _value(numbers, "evaluation.configurations")
    for cell, rival in RIVALS.items():
        name = f"evaluation.{cell.calibration}"
        lost_less, ahead, gain = (_triple(numbers, f"{name}.{each}") for each in ("less_lost", "ahead", "gain"))
        more, alone = _value(numbers, f"{name}.more_reduction"), numbers.get(f"{name}.less_lost_by_calibration")
        beside = "" if alone is None else f" ({alone:g} by calibration on survivors alone)"
        yield (
            f"5a ahead of the {rival}: less accuracy lost at equal margins",
            "consistently",
            *lost_less,
            _verdict(lost_less[1] > total / 2, [*lost_less, total]),
            f"configurations of {total:g}{beside}; computation saved, all together: {more:+.1f} points; "
            "holds if the interval is above half of them",
        )
        yield _above_zero(
            f"5b ahead of the {rival}: in accuracy and computation at once, at equal margins",
            "consistently",
            ahead,
            f"configurations better in both ({_value(numbers, f'{name}.better'):g}) less those worse in both "
            f"({_value(numbers, f'{name}.worse'):g}), of {total:g}",
        )
        claim = f"5c ahead of the {rival}: more accurate at equal computation, on average"
        yield _above_zero(claim, "consistently", gain, FRONTS)
    own = "evaluation.own_visits.gain"
    if own in numbers:
        rival = RIVALS[CALIBRATION_ALONE]
        claim = f"5c ahead of the {rival}: more accurate at equal computation, on average, {OWN}"
        yield _above_zero(claim, "consistently", _triple(numbers, own), FRONTS)


def _headline(numbers: Numbers) -> Iterator[tuple]:
    for chosen in (2, 1):
        saved, drop = (_triple(numbers, f"recommended.{chosen}.{each}") for each in ("reduction", "drop"))
        yield (
            f"6a up to 45 % less computation at 2 points of accuracy: chosen for {chosen} on valid",
            "45 %",
            *(100 * value for value in saved),
            _verdict(saved[1] >= PAPER_REDUCTION and drop[2] <= PAPER_DROP, [*saved, *drop]),
            f"% of MACs saved, at a drop of {drop[0]:.2f} points ({drop[1]:.2f} to {drop[2]:.2f}); both "
            f"intervals must keep {100 * PAPER_REDUCTION:g} % and {PAPER_DROP:g} points",
        )
    for cell, rival in SIMPLER.items():
        name = f"evaluation.{cell.calibration}.equal_drop"
        claim, at = f"6b more saved than by {rival} for the same drop", _value(numbers, f"{name}.at")
        note = f"points of % of the MACs, front against front, where both drop by {at:.2f} points on test"
        yield _above_zero(claim, "implied", _triple(numbers, name), note)


def _above_zero(claim: str, paper: str, found: tuple[float, float, float], note: str) -> tuple:
    """The row of a claim that holds if the interval of what was measured is above 0."""
    return claim, paper, *found, _verdict(found[1] > 0, found), f"{note}; holds if the interval is above 0"


def over_backbones(tables: dict[int, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Tell whether a verdict is the same on every backbone, and how far what was measured scatters among them.

    Parameters
    ----------
    tables : ``claims_table`` of each backbone, by its seed; first that of the published verdicts.
    confidence : of the interval of the mean over backbones, by Student's t: with few of them it is wide.

    Returns
    -------
    DataFrame
        ``claim, backbones, same`` (number of backbones with the published verdict), ``mean, low, high``, for
        each claim that can be tested and was asked of every backbone.
    """
    published, *_ = tables.values()
    testable = published.loc[published["verdict"] != NOT_TESTABLE, ["claim", "verdict"]]
    every = pd.concat(tables.values()).query("verdict != @NOT_TESTABLE")
    every = every.merge(testable, on="claim", suffixes=("", "_published"))
    every["same"] = every["verdict"] == every["verdict_published"]
    asked_of = every.groupby("claim")["claim"].transform("size")
    groups = every[asked_of == len(tables)].groupby("claim", sort=False)
    found = groups.agg(backbones=("same", "size"), same=("same", "sum"))
    ends = (each["measured"] for each in mean_interval(groups[["measured"]], confidence))
    return found.assign(**dict(zip(("mean", "low", "high"), ends, strict=True))).reset_index()


def side_by_side(experiments: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Set the claims of experiments, by name, beside each other: a row a claim, a column an experiment."""
    order = pd.concat(experiments.values())["claim"].unique()
    columns = {name: table.set_index("claim").apply(_told, axis=1) for name, table in experiments.items()}
    return pd.DataFrame(columns).reindex(order).fillna("-").rename_axis("claim").reset_index()


def _told(row: pd.Series) -> str:
    """The verdict on a claim, and what was measured if it can be tested."""
    measured = f": {row['measured']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return row["verdict"] + (measured if row["verdict"] != NOT_TESTABLE else "")


def _triple(numbers: Numbers, name: str) -> tuple[float, float, float]:
    return tuple(_value(numbers, key) for key in (name, f"{name}_low", f"{name}_high"))


def _matching(numbers: Numbers, pattern: str) -> list[str]:
    """The names that were noted, a branch each."""
    return [name for name in sorted(numbers) if re.fullmatch(pattern, name)]


def _value(numbers: Numbers, name: str) -> float:
    value = numbers.get(name)
    return math.nan if value is None else value


def _verdict(holds: bool, values: Sequence[float]) -> str:
    if any(math.isnan(value) for value in values):
        return NOT_TESTABLE
    return REPRODUCED if holds else NOT_REPRODUCED
