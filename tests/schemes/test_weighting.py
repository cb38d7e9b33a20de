import pytest
import torch

from btsee_lib import boosting, fitting
from btsee_lib.calibration import leaves
from btsee_lib.schemes.scheme import Boosted, Known
from btsee_lib.schemes.weighting import CrossFitted, Mixture, SoftSurvivors, WarmStart

EXCESS = torch.tensor([[-0.5, 0.2, -0.1, -torch.inf], [-0.3, -0.4, 0.0, -torch.inf]])
KNOWN = Known((EXCESS < 0).all(0), EXCESS)


def test_a_mixture_lies_between_the_hard_filter_and_none():
    assert Mixture(0.0).weights(KNOWN).tolist() == Boosted().weights(KNOWN).tolist() == [1, 0, 0, 1]
    assert Mixture(0.25).weights(KNOWN).tolist() == [1, 0.25, 0.25, 1]
    assert Mixture(1.0).weights(KNOWN).tolist() == [1, 1, 1, 1]


def test_soft_weights_are_the_probability_to_stay_at_all_branches_before():
    weights = SoftSurvivors(10).weights(KNOWN)
    by_hand = 1 / ((1 + torch.exp(10 * EXCESS[0])) * (1 + torch.exp(10 * EXCESS[1])))
    torch.testing.assert_close(weights, by_hand)
    assert weights[3] == 1, "where no one may leave, every sample gets here"


def test_soft_weights_become_those_of_the_hard_filter_as_the_sigmoid_gets_steep():
    away = Known(KNOWN.survivors[:2], EXCESS[:, :2])  # a sample on the threshold stays half
    assert SoftSurvivors(1e4).weights(away).tolist() == Boosted().weights(away).tolist()


def test_a_warm_start_sees_all_and_then_the_survivors_with_half_of_the_visits_each():
    (first, on_all), (second, on_survivors) = WarmStart().phases(KNOWN)
    assert (first, second) == (0.5, 0.5)
    assert on_all.tolist() == [1, 1, 1, 1]
    assert on_survivors.tolist() == [1, 0, 0, 1]


def test_survivors_are_where_no_excess_reaches_zero(features, boosted_tree, terms):
    """``Known`` says the same twice: a sample leaves where its excess is not negative."""
    node, valid = boosted_tree[0], features["valid"]
    reach = fitting.everyone(features)
    thresholds = boosting.fitted_thresholds(node.logits, reach, valid.labels, -0.1, terms)
    excess = boosting.excess(node.logits["train"], thresholds)
    stays = boosting.who_stays(node.logits, reach, thresholds)["train"]
    assert torch.equal(excess < 0, stays)
    assert 0 < int(stays.sum()) < len(stays)
    outputs = boosting.CPM.outputs(node.logits["train"])
    assert torch.equal(leaves(*outputs, thresholds), ~stays)


@pytest.fixture(scope="module")
def cross_fitted_tree(features, branch_parameters, boosting_parameters):
    arguments = (features, branch_parameters, boosting_parameters, 0)
    return list(boosting.train_tree(CrossFitted(), *arguments, chosen=[(-0.1, -0.1, -0.1)]))


def test_cross_fitted_survivors_of_train_are_named_by_branches_that_did_not_see_them(
    cross_fitted_tree, features, branch_parameters, boosting_parameters, boosted_tree, terms
):
    first, second, _ = cross_fitted_tree
    everyone, labels = fitting.everyone(features), features["valid"].labels
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(fitting.branch_seed(0, 1)))
    thresholds = boosting.fitted_thresholds(first.logits, everyone, labels, -0.1, terms)
    stays = torch.zeros(1000, dtype=torch.bool)
    parameters = (branch_parameters, boosting_parameters, 0)
    for part in (0, 1):
        left_out = order % 2 == part
        branch = fitting.fit_exit(1, CrossFitted(), features, everyone, *parameters, left_out=left_out).branch
        logits = {"train": fitting.branch_logits(branch, features["train"].squeezed[0])}
        reach = {"train": everyone["train"]}
        stays |= left_out & boosting.who_stays(logits, reach, thresholds)["train"]
    assert second.train_survivors == int(stays.sum())
    behind = next(each for each in boosted_tree if each.margins == (-0.1,))
    assert torch.equal(first.logits["train"], boosted_tree[0].logits["train"])
    assert second.valid_survivors == behind.valid_survivors
    assert second.train_survivors != behind.train_survivors
