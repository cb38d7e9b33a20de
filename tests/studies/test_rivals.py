from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from btsee_lib.decisions import Decisions
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, of_cell
from btsee_lib.studies import rivals
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
    beside = beside_networks(networks, cascades, EVALUATION)
    mean = of_cell(beside.gains, BTS_EE).iloc[-1]
    loses = {name: 100 * (right["16"].mean() - each.mean()) for name, each in right.items()}
    # The front is the one configuration that saves 60 %: between networks that save 50 and 75 %.
    assert mean["gain"] == pytest.approx(0.6 * loses["12"] + 0.4 * loses["8"], abs=0.01)
    assert mean["low"] < mean["gain"] < mean["high"]


def test_equal_answers_at_equal_cost_are_no_gain(networks, cascades, right):
    """The same network, once as a cascade and once as a narrower network."""
    same = networks.assign(macs=[40.0, 60.0], right=[packed(right["16"])] * 2)
    beside = beside_networks(same, cascades, EVALUATION)
    assert np.allclose(beside.gains[["gain", "low", "high"]], 0, atol=1e-4)


def test_the_curves_are_the_fronts_and_the_networks_by_width(networks, cascades):
    curves = beside_networks(networks, cascades, EVALUATION).curves
    assert of_cell(curves, STATIC)["width"].tolist()[:2] == [8, 12]
    for cell in rivals.CASCADES:
        rows = of_cell(curves, cell)
        assert rows["reduction"].tolist() == [0.6]  # the other configuration saves less for the same
        assert rows["width"].isna().all()
    assert (curves["drop_low"] <= curves["drop"] + 1e-9).all()
