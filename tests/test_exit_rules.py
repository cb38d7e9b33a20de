import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from btsee_lib import config, exit_rules
from btsee_lib.boosting import backbone_precision
from btsee_lib.calibration import calibrate, confidence_and_class
from btsee_lib.comparison import bootstrap
from btsee_lib.cost import CostModel
from btsee_lib.evaluation import mean_over_seeds
from btsee_lib.exit_rules import KNOBS, Promises
from btsee_lib.features import SplitFeatures
from btsee_lib.stored import SeedBranches
from btsee_lib.uncertainty import share_interval

IMAGES = {"valid": 150, "test": 120}
CLASSES = 3
CHECKED = (-0.5, 0.0, 0.1)  # the first asks for more than certainty


def answers(labels, strength, generator):
    return strength * one_hot(labels, CLASSES) + torch.randn(len(labels), CLASSES, generator=generator)


@pytest.fixture(scope="module")
def made_up():
    """Features and the branches of two seeds, drawn at random: right more often the later they stand."""
    generator = torch.Generator().manual_seed(0)
    labels = {name: torch.randint(CLASSES, (n,), generator=generator) for name, n in IMAGES.items()}
    features = {name: SplitFeatures((), answers(each, 3.5, generator), each) for name, each in labels.items()}
    nodes = pd.DataFrame({"training": ["boosted"] + 3 * ["independent"], "branch": [1, 1, 2, 3]})
    cascades = [
        SeedBranches(
            seed,
            nodes,
            {
                name: torch.stack([answers(labels[name], s, generator) for s in (0, 2, 2.3, 2.6)])
                for name in IMAGES
            },
            states=[],
        )
        for seed in (0, 1)
    ]
    return features, cascades


@pytest.fixture(scope="module")
def few_limits():
    return config.Boosting(seeds=[0, 1], margins=[[0.0]] * 3, bar_ceiling=1.0, min_support=3, min_survivors=20)


@pytest.fixture(scope="module")
def checked(made_up, few_limits):
    features, cascades = made_up
    return exit_rules.promises(cascades, features, few_limits, CHECKED)


@pytest.fixture(scope="module")
def swept(made_up, few_limits):
    features, cascades = made_up
    cost = CostModel(stages=(100, 100, 100, 100), branches=(5, 4, 3))
    return exit_rules.sweep_rules(cascades, features, cost, few_limits)


def exits_by_hand(sure, said, thresholds):
    """For each image the branch at which it leaves, or 3."""
    return [
        next((b for b in range(3) if sure[b, i] >= thresholds[b, said[b, i]]), 3) for i in range(sure.shape[1])
    ]


@pytest.mark.parametrize("calibration", ["full", "survivors"])
def test_promises_agree_with_a_plain_loop(made_up, few_limits, checked, calibration):
    features, (_, trained) = made_up
    valid, test = features["valid"], features["test"]
    bars = (backbone_precision(features) - 0.1).expand(3, -1)
    said = {name: confidence_and_class(trained.logits[name][1:]) for name in IMAGES}
    thresholds = calibrate(*said["valid"], valid.labels, bars, few_limits.min_support, calibration)
    taken = exits_by_hand(*said["test"], thresholds)
    expected = []
    for b in range(3):
        for c in range(CLASSES):
            gone = [i for i in range(IMAGES["test"]) if taken[i] == b and said["test"][1][b, i] == c]
            hits = sum(int(test.labels[i]) == c for i in gone)
            if gone:
                low, high = share_interval(hits, len(gone))
                bar = float(bars[b, c])
                broken = high < bar
                share = hits / len(gone)
                expected.append((b + 1, c, bar, len(gone), share, low, high, False, broken))
    table = checked.table
    rows = table[(table["seed"] == 1) & (table["calibration"] == calibration) & (table["margin"] == 0.1)]
    columns = ["branch", "class", "bar", "exits", "precision", "low", "high", "at_ceiling", "broken"]
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
        assert len(exits) == len(missing) == IMAGES["test"]
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
    found = exit_rules.promise_summary(Promises(table, missing, exits))
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
    found = exit_rules.promise_summary(checked)
    assert (found["shortfall_low"] < found["shortfall"]).all()
    assert (found["shortfall"] < found["shortfall_high"]).all()


def test_a_sweep_has_a_row_for_every_seed_rule_and_knob(swept):
    names = swept.table[["seed", "rule", "knob"]].itertuples(index=False, name=None)
    assert list(names) == [(seed, rule, knob) for seed in (0, 1) for rule in KNOBS for knob in KNOBS[rule]]
    columns = ["seed", "rule", "knob", "accuracy", "drop", "reduction", "exit1", "exit2", "exit3", "exit4"]
    assert list(swept.table.columns) == [*columns, "valid_drop", "valid_reduction"]
    assert swept.correct.shape == (len(swept.table), IMAGES["test"])


@pytest.mark.parametrize("rule", KNOBS)
def test_a_looser_knob_lets_no_fewer_out_at_the_first_branch(swept, rule):
    for _, rows in swept.table[swept.table["rule"] == rule].groupby("seed"):
        assert (rows["exit1"].diff().dropna() >= 0).all()
        assert rows["exit1"].iloc[-1] > rows["exit1"].iloc[0]


@pytest.mark.parametrize(
    ("rule", "knob", "out"),
    [("confidence", 0.9, lambda p: p.max() >= 0.9), ("entropy", 0.3, lambda p: -(p * np.log(p)).sum() <= 0.3)],
)
def test_a_rule_of_one_threshold_lets_out_what_it_says(made_up, swept, rule, knob, out):
    _, (trained, _) = made_up
    shares = trained.logits["test"][1].double().softmax(-1).numpy()
    table = swept.table
    row = table[(table["seed"] == 0) & (table["rule"] == rule) & (table["knob"] == knob)].iloc[0]
    assert row["exit1"] == pytest.approx(np.mean([out(p) for p in shares]))


def test_a_rule_gains_over_another_what_the_other_loses(swept):
    averaged, drawn = mean_over_seeds(swept.table), bootstrap(swept, 50, seed=0)
    gained, lost = (
        exit_rules.gain_over(averaged, drawn, *pair) for pair in (("entropy", "CPM"), ("CPM", "entropy"))
    )
    assert gained["gain"].abs().max() > 0
    assert gained["gain"].to_numpy() == pytest.approx(-lost["gain"].to_numpy())
    assert gained["low"].to_numpy() == pytest.approx(-lost["high"].to_numpy())
    itself = exit_rules.gain_over(averaged, drawn, "CPM", "CPM")
    assert (itself[["gain", "low", "high"]] == 0).all(axis=None)


def test_the_search_for_a_threshold_by_hand():
    confidence = torch.tensor([0.9, 0.8, 0.8, 0.7, 0.6])
    predicted, labels = torch.tensor([1, 1, 1, 0, 1]), torch.tensor([1, 0, 1, 0, 0])
    bars, thresholds = torch.tensor([0.5, 0.6, 0.7]), torch.tensor([0.7, 0.8, torch.inf])
    found = exit_rules.search_table(confidence, predicted, labels, [1, 0], "abc", bars, thresholds)
    assert list(found.columns) == ["confidence", "precision", "support", "class", "bar", "threshold"]
    assert found["class"].tolist() == ["b", "b", "b", "a"]
    assert found["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.7])
    assert found["precision"].tolist() == pytest.approx([1, 2 / 3, 1 / 2, 1])
    assert found["support"].tolist() == [1, 3, 4, 1]
    assert found["bar"].tolist() == pytest.approx([0.6, 0.6, 0.6, 0.5])
    assert found["threshold"].tolist() == pytest.approx([0.8, 0.8, 0.8, 0.7])


def test_thresholds_are_laid_out_branch_by_branch():
    found = exit_rules.threshold_table(torch.tensor([[0.5, 0.25], [torch.inf, 0.75]]), ("a", "b"))
    assert list(found.columns) == ["branch", "class", "threshold"]
    rows = list(found.itertuples(index=False, name=None))
    assert rows == [(1, "a", 0.5), (1, "b", 0.25), (2, "a", float("inf")), (2, "b", 0.75)]
