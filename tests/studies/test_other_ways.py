import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import made_up_features, made_up_tree

from btsee_lib import boosting
from btsee_lib.config import BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.evaluation import evaluate_configurations
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.schemes import SCHEMES
from btsee_lib.studies import effort, other_ways
from btsee_lib.trees import tree_of

MARGINS = [[-0.1, 0.0, 0.2], [-0.2, 0.1, 0.3], [0.0, 0.2]]
EVALUATION = SimpleNamespace(resamples=60, seed=0, confidence=0.9, max_drops=[1.0, 30.0])


@pytest.fixture(scope="module")
def parameters():
    return BoostingParameters(seeds=[0, 1], margins=MARGINS, bar_ceiling=1.0, min_support=3, min_survivors=20)


@pytest.fixture(scope="module")
def some_features():
    return made_up_features({"valid": 300, "test": 400}, torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def decisions(some_features, parameters):
    """Of two schemes: the second one's branches are much surer of the truth."""
    generator, trees = torch.Generator().manual_seed(2), []
    for seed in (0, 1):
        tree = made_up_tree("independent", seed, some_features, (1, 2, 3), generator)
        better = made_up_tree("better", seed, some_features, (1, 2, 3), generator)
        surer = {
            name: each + 2 * torch.nn.functional.one_hot(some_features[name].labels, 3)
            for name, each in better.logits.items()
        }
        trees += [tree, dataclasses.replace(better, logits=surer)]
    cost = CostModel(stages=(10, 10, 10, 10), branches=(1, 1, 1))
    rungs = {"calibrations": ["survivors"], "chosen": effort.rungs(parameters)}
    return evaluate_configurations(trees, some_features, cost, parameters, **rungs)


def test_a_scheme_gains_nothing_over_itself_and_a_surer_one_gains(decisions):
    table = other_ways.standings(decisions, EVALUATION)
    itself, better = (table[table["training"] == name] for name in ("independent", "better"))
    assert (itself[["gain", "gain_low", "gain_high"]] == 0).all(axis=None)
    assert (better["gain_low"] > 0).all()
    assert (better["gain_low"] <= better["gain"]).all()


def test_what_is_reported_was_chosen_on_valid(decisions):
    table = other_ways.standings(decisions, EVALUATION)
    row = table[(table["training"] == "better") & (table["max_drop"] == 30.0)].iloc[0]
    better = decisions.table[decisions.table["training"] == "better"]
    of_all = better.groupby(["m1", "m2", "m3"]).mean(numeric_only=True)
    allowed = of_all[of_all["valid_drop"] <= 30.0]
    best = allowed.loc[allowed["valid_reduction"].idxmax()]
    assert (row["drop"], row["reduction"]) == (pytest.approx(best["drop"]), pytest.approx(best["reduction"]))
    assert row["drop_low"] <= row["drop"] <= row["drop_high"]


def test_where_no_rung_keeps_the_drop_there_is_no_number(decisions):
    impossible = SimpleNamespace(**vars(EVALUATION) | {"max_drops": [-100.0]})
    assert other_ways.standings(decisions, impossible)[["drop", "reduction"]].isna().all(axis=None)


def test_every_pair_is_compared_once_and_with_wider_intervals(decisions):
    narrow = other_ways.standings(decisions, EVALUATION).set_index("training").loc["better"].iloc[0]
    (pair,) = other_ways.who_beats_whom(decisions, EVALUATION, resamples=60).to_dict("records")
    assert (pair["training"], pair["over"]) == ("independent", "better")
    assert pair["gain"] == pytest.approx(-narrow["gain"])
    assert pair["gain_high"] < 0
    three = dataclasses.replace(decisions, table=decisions.table.assign(training=cycled(decisions.table)))
    assert len(other_ways.who_beats_whom(three, EVALUATION, resamples=60)) == 3


def cycled(table):
    """Name the rows of a table after three schemes in turn, each with as many configurations a seed."""
    return np.tile(np.repeat(["a", "b", "c"], len(table) // 6), 2)


def test_intervals_that_hold_together_are_wider_the_more_pairs_there_are(decisions, monkeypatch):
    asked = []
    monkeypatch.setattr(other_ways, "gain_over", lambda *arguments: asked.append(arguments[-1]) or {})
    other_ways.who_beats_whom(decisions, EVALUATION, resamples=20)
    three = dataclasses.replace(decisions, table=decisions.table.assign(training=cycled(decisions.table)))
    other_ways.who_beats_whom(three, EVALUATION, resamples=20)
    assert asked == pytest.approx([0.9] + 3 * [1 - 0.1 / 3])


def test_pairs_turned_round_gain_the_opposite():
    pairs = pd.DataFrame(
        {"training": ["a"], "over": ["b"], "gain": [1.0], "gain_low": [-0.5], "gain_high": [2.0]}
    )
    rows = other_ways.both_ways(pairs).set_index("training").loc["b"]
    assert rows.to_dict() == {"over": "a", "gain": -1.0, "gain_low": -2.0, "gain_high": 0.5}


def test_branches_behind_given_margins_are_those_of_the_configuration(boosted_tree, boosting_parameters):
    tree, margins = tree_of("boosted", 0, list(boosted_tree)), effort.middle_rung(boosting_parameters)
    alone = other_ways.behind(tree, margins)
    assert not alone.is_sequential
    assert alone.rows((9.0, 9.0, 9.0)) == [0, 1, 2]
    for row, position in enumerate(tree.rows(margins)):
        assert torch.equal(alone.logits["valid"][row], tree.logits["valid"][position])
        assert alone.states[row] is tree.states[position]


def test_every_rule_turns_its_knob_through_its_range_behind_one_configuration(some_features, parameters):
    generator = torch.Generator().manual_seed(3)
    trees = [made_up_tree("independent", seed, some_features, (1, 2, 3), generator) for seed in (0, 1)]
    cost = CostModel(stages=(10, 10, 10, 10), branches=(1, 1, 1))
    decided = other_ways.under_rules(trees, some_features, cost, parameters)
    table = other_ways.by_rule(decided)
    expected = [(name, knob) for name, rule in EXIT_RULES.items() for knob in rule.knobs]
    assert sorted(zip(table["rule"], table["knob"], strict=True)) == sorted(expected)
    assert table["reduction"].dtype == float
    swapped = {
        "valid": some_features["valid"],
        "test": dataclasses.replace(some_features["test"], labels=some_features["test"].labels.flip(0)),
    }
    other = other_ways.under_rules(trees, swapped, cost, parameters)
    again = other_ways.by_rule(other)
    assert again["valid_drop"].tolist() == table["valid_drop"].tolist()
    assert again["drop"].tolist() != table["drop"].tolist()
    first, second = (other_ways.offers(each, EVALUATION) for each in (decided, other))
    assert set(first["rule"]) == set(EXIT_RULES)
    under_cpm = first[first["rule"] == "CPM"]
    assert (under_cpm[["gain", "gain_low", "gain_high"]] == 0).all(axis=None)
    # Whatever test says, valid decides.
    assert second["valid_reduction"].equals(first["valid_reduction"])
    best = other_ways.best_offers(first).set_index("max_drop")["valid_reduction"]
    assert (best == first.groupby("max_drop")["valid_reduction"].max()).all()


def test_a_row_under_rules_is_of_the_scheme_whose_branches_ran(some_features, parameters):
    generator = torch.Generator().manual_seed(3)
    trees = [made_up_tree(name, 0, some_features, (1, 2, 3), generator) for name in ("independent", "better")]
    cost = CostModel(stages=(10, 10, 10, 10), branches=(1, 1, 1))
    both, *alone = (
        other_ways.under_rules(each, some_features, cost, parameters).table
        for each in (trees, trees[:1], trees[1:])
    )
    pd.testing.assert_frame_equal(both, pd.concat(alone, ignore_index=True))
    assert both["training"].unique().tolist() == ["independent", "better"]


def test_the_middle_drop_is_one_of_those_allowed():
    offered = pd.DataFrame({"max_drop": [2.0, 0.5, 1.0, 1.0], "training": list("abcd")})
    assert other_ways.of_middle_drop(offered)["training"].tolist() == ["c", "d"]
    assert other_ways.of_middle_drop(offered[:2])["training"].tolist() == ["a"]


def curves(*cells):
    rows = [(name, "CPM", saved, drop) for name, points in cells for saved, drop in points]
    table = pd.DataFrame(rows, columns=["training", "rule", "reduction", "drop"])
    return table.assign(valid_reduction=table["reduction"], valid_drop=table["drop"] + 1)


def test_drops_are_averaged_over_the_computation_that_all_can_save():
    found = other_ways.drop_at_equal_compute(
        curves(("a", [(0.6, 2.0), (0.2, 0.0)]), ("b", [(0.4, 0.5), (0.8, 4.5)]))
    )
    assert found["drop"].tolist() == pytest.approx([1.5, 1.5])  # both from 0.4 to 0.6
    valid = other_ways.drop_at_equal_compute(curves(("a", [(0.6, 2.0), (0.2, 0.0)])), "valid")
    assert valid["drop"].tolist() == pytest.approx([2.0])


def test_where_curves_do_not_overlap_there_is_no_drop_at_equal_compute():
    found = other_ways.drop_at_equal_compute(
        curves(("a", [(0.1, 0.0), (0.2, 0.1)]), ("b", [(0.4, 0.5), (0.8, 4)]))
    )
    assert found["drop"].isna().all()


def test_every_scheme_of_the_table_trains_behind_the_rungs(features, branch_parameters, boosting_parameters):
    short = branch_parameters.model_copy(update={"epochs": 0.5})
    chosen = [effort.middle_rung(boosting_parameters)]
    for name, scheme in SCHEMES.items():
        trained = list(boosting.train_tree(scheme, features, short, boosting_parameters, 0, chosen=chosen))
        assert [each.branch for each in trained] == [1, 2, 3], name
        assert all(torch.isfinite(each.logits["test"]).all() for each in trained), name
