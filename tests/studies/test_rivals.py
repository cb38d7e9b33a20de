from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import made_up_features, made_up_tree

from btsee_lib.config import BoostingParameters
from btsee_lib.cost import CostModel
from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, of_cell, on_front
from btsee_lib.studies import other_ways, rivals
from btsee_lib.studies.rivals import STATIC, beside_networks, decisions_of, packed, unpacked

IMAGES = 403  # no whole number of bytes
EVALUATION = SimpleNamespace(resamples=200, seed=0, confidence=0.9)


@pytest.fixture
def right():
    """Of a backbone and of two narrower networks, the narrowest one the worst."""
    generator = np.random.default_rng(0)
    return {name: generator.random(IMAGES) < share for name, share in (("8", 0.7), ("12", 0.8), ("16", 0.9))}


@pytest.fixture
def networks(right):
    widths, macs = [8, 12], [25.0, 50.0]
    return pd.DataFrame({"width": widths, "macs": macs, "right": [packed(right[str(each)]) for each in widths]})


@pytest.fixture
def cascades(right):
    """Two configurations a cell and seed: as right as the backbone for 40 and for 60 of its 100 MACs."""
    rows = [
        (seed, *cell, m1, right["16"].mean(), 0.0, 1 - cost / 100, 0.0, 1 - cost / 100)
        for seed in (0, 1)
        for cell in (CALIBRATION_ALONE, BTS_EE)
        for m1, cost in ((0.0, 40.0), (0.1, 60.0))
    ]
    names = "seed training calibration m1 accuracy drop reduction valid_drop valid_reduction".split()
    table = pd.DataFrame(rows, columns=names)
    cost = np.repeat(100 * (1 - table["reduction"].to_numpy(np.float32))[:, None], IMAGES, 1)
    correct = np.tile(right["16"], (len(rows), 1))
    return Decisions(table, correct, cost, right["16"], backbone_cost=100.0)


def test_what_is_packed_is_read_again(right):
    digits = packed(right["8"])
    assert len(digits) < IMAGES / 3
    assert np.array_equal(unpacked(digits, IMAGES), right["8"])


def test_a_network_stands_there_for_every_seed_with_its_drop_and_its_cost(networks, cascades, right):
    found = decisions_of(networks, cascades)
    assert len(found.table) == 2 * 3
    narrow = found.table[found.table["macs"] == 25.0]
    assert narrow["drop"].tolist() == [pytest.approx(100 * (right["16"].mean() - right["8"].mean()))] * 2
    assert narrow["reduction"].tolist() == [0.75, 0.75]
    for position in narrow.index:
        assert np.array_equal(found.correct[position], right["8"])
        assert (found.cost[position] == 25.0).all()
    backbone = found.table[found.table["macs"] == 100.0]
    assert (backbone[["drop", "reduction"]] == 0).all(axis=None)


def test_a_cascade_that_loses_nothing_gains_what_the_line_of_networks_loses_there(networks, cascades, right):
    _, gains = beside_networks(networks, cascades, EVALUATION)
    mean = of_cell(gains, BTS_EE).iloc[-1]
    loses = {name: 100 * (right["16"].mean() - each.mean()) for name, each in right.items()}
    # The front is the one configuration that saves 60 %: between networks that save 50 and 75 %.
    assert mean["gain"] == pytest.approx(0.6 * loses["12"] + 0.4 * loses["8"], abs=0.01)
    assert mean["low"] < mean["gain"] < mean["high"]


def test_equal_answers_at_equal_cost_are_no_gain(networks, cascades, right):
    """The same network, once as a cascade and once as a narrower network."""
    same = networks.assign(macs=[40.0, 60.0], right=[packed(right["16"])] * 2)
    _, gains = beside_networks(same, cascades, EVALUATION)
    assert np.allclose(gains[["gain", "low", "high"]], 0, atol=1e-4)


def test_the_curves_are_the_fronts_and_the_networks_by_width(networks, cascades):
    curves, _ = beside_networks(networks, cascades, EVALUATION)
    assert of_cell(curves, STATIC)["width"].tolist()[:2] == [8, 12]
    for cell in rivals.CASCADES:
        rows = of_cell(curves, cell)
        assert rows["reduction"].tolist() == [0.6]  # the other configuration saves less for the same
        assert rows["width"].isna().all()
    assert (curves["drop_low"] <= curves["drop"] + 1e-9).all()


MARGINS = [[-0.1, 0.0, 0.2], [-0.2, 0.1, 0.3], [0.0, 0.2]]
SWEEP = SimpleNamespace(resamples=60, seed=0, confidence=0.9, max_drops=[1.0, 30.0])


@pytest.fixture(scope="module")
def swept():
    """Independent and boosted branches of noise, and those of a third scheme, under rules."""
    parameters = BoostingParameters(
        seeds=[0], margins=MARGINS, bar_ceiling=1.0, min_support=3, min_survivors=20
    )
    features = made_up_features({"valid": 300, "test": 400}, torch.Generator().manual_seed(1))
    generator, trees = torch.Generator().manual_seed(3), []
    for name in ("independent", "boosted", "third"):
        trees.append(made_up_tree(name, 0, features, (1, 2, 3), generator))
    decided = other_ways.under_rules(trees, features, CostModel((10, 10, 10, 10), (1, 1, 1)), parameters)
    return decided, other_ways.offers(decided, SWEEP)


def always_right(images, *macs):
    """Networks of so many MACs that never err: from the widest one on their line is level."""
    return pd.DataFrame({"width": range(len(macs)), "macs": macs, "right": packed(np.full(images, True))})


def test_each_scheme_under_each_rule_is_set_against_networks_the_best_ones_first(swept, monkeypatch):
    monkeypatch.setattr(rivals, "HALF", 0.68)  # no cascade of noise saves as little as half
    decided, offered = swept
    level = -100 * (1 - decided.backbone_correct.mean())
    networks = always_right(decided.correct.shape[1], 8.0, 30.0)
    found = rivals.against_networks(decided, offered, networks, SWEEP)
    best = other_ways.best_offers(other_ways.of_middle_drop(offered)).iloc[0]
    rules = list(dict.fromkeys([best["rule"], "CPM"]))
    schemes = dict.fromkeys([best["training"], "independent", "boosted"])
    pairs = [(name, rule) for name in schemes for rule in rules]
    assert len(pairs) > 2
    assert list(dict.fromkeys(zip(found["training"], found["rule"], strict=True))) == pairs
    curves = other_ways.by_rule(decided)
    fronts = {}
    for name, rule in pairs:
        mine = curves[(curves["training"] == name) & (curves["rule"] == rule)]
        front = mine[on_front(mine["valid_drop"], mine["valid_reduction"])].sort_values("reduction")
        fronts[name, rule] = front[["reduction", "drop"]].to_numpy().T
    start = max(reductions.min() for reductions, _ in fronts.values())
    for pair, (reductions, drops) in fronts.items():
        rows = found[(found[["training", "rule"]] == list(pair)).all(axis=1)]
        places, (throughout, half) = rows.iloc[:-2], rows["gain"].iloc[-2:]
        assert rows["up_to"].tolist() == [1.0] * 26 + [0.68]
        assert throughout == pytest.approx(places["gain"].mean())
        assert places["reduction"].min() == pytest.approx(start)
        assert places["reduction"].max() == pytest.approx(min(0.8, reductions.max()))
        assert np.allclose(places["gain"], level - np.interp(places["reduction"], reductions, drops), atol=1e-3)
        up_to_half = np.interp(np.linspace(start, 0.68, 25), reductions, drops)
        assert half == pytest.approx((level - up_to_half).mean(), abs=1e-3)
        assert (rows["low"] <= rows["gain"] + 1e-3).all()
        assert (rows["gain"] <= rows["high"] + 1e-3).all()
        assert (rows["low"] < rows["high"]).all()


def test_the_paper_comes_last_even_if_it_is_the_best(swept):
    decided, offered = swept
    best = offered["valid_reduction"].where(offered["training"] != "boosted", 0.999)
    networks = always_right(decided.correct.shape[1], 8.0, 30.0)
    found = rivals.against_networks(decided, offered.assign(valid_reduction=best), networks, SWEEP)
    assert found["training"].unique().tolist() == ["independent", "boosted"]
    assert found["rule"].iloc[-1] == "CPM"


def test_nothing_is_looked_at_that_saves_less_than_the_widest_network(swept):
    decided, offered = swept
    found = rivals.against_networks(decided, offered, always_right(decided.correct.shape[1], 8.0, 12.4), SWEEP)
    assert found["reduction"].min() == pytest.approx(1 - 12.4 / decided.backbone_cost)
    means = found[~found.duplicated(["training", "rule"], keep="last")]
    assert means[["reduction", "gain", "low", "high"]].isna().all(axis=None), "it saves more than half"


def test_without_networks_there_is_nothing_to_set_against(swept):
    none = pd.DataFrame(columns=["width", "macs", "right"])
    assert rivals.against_networks(*swept, none, SWEEP).empty
