import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from made_up import made_up_features, made_up_tree

from btsee_lib.config import BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.evaluation import BASELINE, CALIBRATION_ALONE, evaluate_configurations, mean_over_seeds
from btsee_lib.schemes import SCHEMES
from btsee_lib.studies import comparison, effort, levers

EVALUATION = SimpleNamespace(resamples=60, seed=0, confidence=0.9, max_drops=[1.0, 30.0])


def test_branches_as_good_as_the_others_gain_nothing_by_fewer_visits():
    margins = [[-0.1, 0.0, 0.2], [-0.2, 0.1, 0.3], [0.0, 0.2]]
    parameters = BoostingParameters(
        seeds=[0, 1], margins=margins, bar_ceiling=1.0, min_support=3, min_survivors=20
    )
    generator = torch.Generator().manual_seed(1)
    some_features = made_up_features({"valid": 300, "test": 400}, generator)
    tree = made_up_tree("independent", 0, some_features, (1, 2, 3), generator)
    cost = CostModel(stages=(10, 10, 10, 10), branches=(1, 1, 1))
    both = [tree, dataclasses.replace(tree, scheme=levers.SHORT)]
    decisions = evaluate_configurations(both, some_features, cost, parameters, chosen=effort.rungs(parameters))
    found = levers.other_levers(decisions, EVALUATION).set_index("lever")
    assert found.loc["visits", ["gain", "gain_low", "gain_high"]].tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    on_all = comparison.gain_at_equal_compute(
        mean_over_seeds(decisions.table),
        comparison.bootstrap(decisions, EVALUATION.resamples, EVALUATION.seed),
        CALIBRATION_ALONE,
        BASELINE,
        EVALUATION.confidence,
    )
    assert found.loc["calibration", "gain"] == pytest.approx(on_all.iloc[-1]["gain"])


def test_a_lever_is_what_differs_in_one_thing_alone():
    names = ["independent", "mixture", "additive", "additive, boosted"]
    standings = pd.DataFrame({"training": names, "gain": [0, 0.1, 0.2, 0.4], "gain_low": 0.0, "gain_high": 1.0})
    offers = pd.DataFrame(
        [
            ("independent", "CPM", 0.0),
            ("independent", "entropy", 0.3),
            ("independent", "entropy", 0.3),  # for another allowed drop
            ("additive", "CPM", 5.0),
            ("additive", "entropy", 6.0),
        ],
        columns=["training", "rule", "gain"],
    ).assign(gain_low=0.2, gain_high=0.5)
    others = pd.DataFrame([{"lever": "visits", "choice": "few", "gain": -1.0}])
    found = levers.levers({"standings": standings, "offers": offers, "levers": others}, SCHEMES)
    assert found.set_index(["lever", "choice"])["gain"].to_dict() == {
        ("visits", "few"): -1.0,
        ("training samples", "mixture"): 0.1,
        ("exit head", "additive"): 0.2,
        ("exit rule", "entropy"): 0.3,
    }
    assert found.loc[3, ["gain_low", "gain_high"]].tolist() == [0.2, 0.5]
