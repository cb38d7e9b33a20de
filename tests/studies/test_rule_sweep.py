import numpy as np
import pandas as pd
import pytest
import torch

from btsee_lib.cost import CostModel
from btsee_lib.evaluation import mean_over_seeds
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.studies import rule_sweep
from btsee_lib.studies.comparison import bootstrap

COST = CostModel(stages=(100, 100, 100, 100), branches=(5, 4, 3))


@pytest.fixture(scope="module")
def swept(made_up_trees, loose_boosting_parameters):
    features, trees = made_up_trees
    return rule_sweep.sweep_rules(trees, features, COST, loose_boosting_parameters)


def test_a_sweep_has_a_row_for_every_seed_rule_and_knob(swept):
    names = swept.table[["seed", "rule", "knob"]].itertuples(index=False, name=None)
    assert list(names) == [
        (seed, name, knob) for seed in (0, 1) for name, rule in EXIT_RULES.items() for knob in rule.knobs
    ]
    columns = ["seed", "rule", "knob", "accuracy", "drop", "reduction", "exit1", "exit2", "exit3", "exit4"]
    assert list(swept.table.columns) == [*columns, "valid_drop", "valid_reduction"]
    assert swept.correct.shape == (len(swept.table), 120)


def test_a_sweep_may_be_of_some_rules_only(swept, made_up_trees, loose_boosting_parameters):
    features, trees = made_up_trees
    rules = {"entropy": EXIT_RULES["entropy"]}
    found = rule_sweep.sweep_rules(trees, features, COST, loose_boosting_parameters, rules).table
    expected = swept.table[swept.table["rule"] == "entropy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("rule", EXIT_RULES)
def test_a_looser_knob_lets_no_fewer_out_at_the_first_branch(swept, rule):
    for _, rows in swept.table[swept.table["rule"] == rule].groupby("seed"):
        assert (rows["exit1"].diff().dropna() >= 0).all()
        assert rows["exit1"].iloc[-1] > rows["exit1"].iloc[0]


@pytest.mark.parametrize(
    ("rule", "knob", "out"),
    [("confidence", 0.9, lambda p: p.max() >= 0.9), ("entropy", 0.3, lambda p: -(p * np.log(p)).sum() <= 0.3)],
)
def test_a_rule_of_one_threshold_lets_out_what_it_says(made_up_trees, swept, rule, knob, out):
    _, (tree, _) = made_up_trees
    shares = tree.logits["test"][0].double().softmax(-1).numpy()
    table = swept.table
    row = table[(table["seed"] == 0) & (table["rule"] == rule) & (table["knob"] == knob)].iloc[0]
    assert row["exit1"] == pytest.approx(np.mean([out(p) for p in shares]))


def test_a_rule_gains_over_another_what_the_other_loses(swept):
    averaged, drawn = mean_over_seeds(swept.table), bootstrap(swept, 50, seed=0)
    gained, lost = (
        rule_sweep.gain_over(averaged, drawn, *pair) for pair in (("entropy", "CPM"), ("CPM", "entropy"))
    )
    assert gained["gain"].abs().max() > 0
    assert gained["gain"].to_numpy() == pytest.approx(-lost["gain"].to_numpy())
    assert gained["low"].to_numpy() == pytest.approx(-lost["high"].to_numpy())
    itself = rule_sweep.gain_over(averaged, drawn, "CPM", "CPM")
    assert (itself[["gain", "low", "high"]] == 0).all(axis=None)


def test_the_search_for_a_threshold_by_hand():
    confidence = torch.tensor([0.9, 0.8, 0.8, 0.7, 0.6])
    predicted, labels = torch.tensor([1, 1, 1, 0, 1]), torch.tensor([1, 0, 1, 0, 0])
    bars, thresholds = torch.tensor([0.5, 0.6, 0.7]), torch.tensor([0.7, 0.8, torch.inf])
    found = rule_sweep.search_table(confidence, predicted, labels, [1, 0], "abc", bars, thresholds)
    assert list(found.columns) == ["confidence", "precision", "support", "class", "bar", "threshold"]
    assert found["class"].tolist() == ["b", "b", "b", "a"]
    assert found["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.7])
    assert found["precision"].tolist() == pytest.approx([1, 2 / 3, 1 / 2, 1])
    assert found["support"].tolist() == [1, 3, 4, 1]
    assert found["bar"].tolist() == pytest.approx([0.6, 0.6, 0.6, 0.5])
    assert found["threshold"].tolist() == pytest.approx([0.8, 0.8, 0.8, 0.7])


def test_thresholds_are_laid_out_branch_by_branch():
    found = rule_sweep.threshold_table(torch.tensor([[0.5, 0.25], [torch.inf, 0.75]]), ("a", "b"))
    assert list(found.columns) == ["branch", "class", "threshold"]
    rows = list(found.itertuples(index=False, name=None))
    assert rows == [(1, "a", 0.5), (1, "b", 0.25), (2, "a", float("inf")), (2, "b", 0.75)]
