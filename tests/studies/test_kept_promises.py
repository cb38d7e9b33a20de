import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import made_up_features, made_up_tree

from btsee_lib.calibration import CPM, Terms, class_precision
from btsee_lib.cost import CostModel
from btsee_lib.studies.kept_promises import kept_promises, summary

COST = CostModel(stages=(10, 10, 10, 10), branches=(1, 1, 1))
MARGINS = (0.0, 0.05, 0.1)


@pytest.fixture(scope="module")
def case():
    generator = torch.Generator().manual_seed(5)
    features = made_up_features({"valid": 2000, "test": 10}, generator)
    tree, valid = made_up_tree("independent", 0, features, (1, 2, 3), generator), features["valid"]
    terms = Terms(class_precision(valid.predicted, valid.labels, 3), min_support=10)
    return tree.logits["valid"], valid, MARGINS, terms, COST


@pytest.fixture(scope="module")
def table(case):
    return kept_promises(*case, cuts=40)


def test_every_rule_is_checked_on_every_cut(table):
    assert table.groupby("rule")["cut"].agg(list).map(lambda cuts: cuts == list(range(40))).all()
    assert (table["promises"] > 0).all()
    assert table["kept"].between(0, 1).all()


def test_the_lower_bound_keeps_more_of_its_promises_and_saves_less(table):
    means = summary(table).set_index("rule")
    plain, bound = means.loc["CPM"], means.loc["CPM, lower bound"]
    assert bound["kept"] > plain["kept"] + 0.15
    assert bound["shortfall"] < 0 < plain["shortfall"] + 0.5
    assert bound["saved_less"] == pytest.approx(100 * (plain["reduction"] - bound["reduction"]))
    assert bound["saved_less"] > 0
    assert plain["saved_less"] == 0


def test_what_is_fitted_is_not_what_it_is_checked_on(case):
    """Noise that is right at random: some threshold meets the bar, and elsewhere it is kept by chance alone."""
    logits, valid, _, terms, cost = case
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (len(valid),), generator=generator)
    noise = torch.randn(logits.shape, generator=generator)
    asked = dataclasses.replace(terms, precision=torch.full((3,), 0.5), min_support=3)
    found = kept_promises(
        noise, dataclasses.replace(valid, labels=labels), (0.0,) * 3, asked, cost, {"CPM": CPM}, 20
    )
    assert found["kept"].mean() < 0.3


def test_cuts_are_decided_by_the_seed(case):
    first, again, other = (kept_promises(*case, rules={"CPM": CPM}, cuts=3, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["reduction"], other["reduction"])
