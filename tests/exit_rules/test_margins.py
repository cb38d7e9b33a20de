import itertools

import pytest
import torch
from scipy.stats import binomtest

from btsee_lib.calibration import CPM, Terms, confidence_and_class
from btsee_lib.exit_rules import EXIT_RULES, PROMISING
from btsee_lib.exit_rules.margins import (
    LowerBound,
    LowerBoundOfAll,
    MultiplicativeMargin,
    SmoothedPrecision,
)

TERMS = Terms(precision=torch.tensor([0.9, 0.8]), min_support=5)


def samples(number=4000, seed=0):
    """Confidences of two classes that say how often they are right: (confidence, predicted, labels)."""
    generator = torch.Generator().manual_seed(seed)
    confidence = 0.5 + 0.5 * torch.rand(number, generator=generator)
    predicted = torch.randint(2, (number,), generator=generator)
    right = torch.rand(number, generator=generator) < confidence
    return confidence, predicted, torch.where(right, predicted, 1 - predicted)


def test_a_margin_as_a_factor_is_that_of_the_bar():
    """0.05 of 0.8 is a margin of 0.04, and of 0.9 one of 0.045."""
    found = MultiplicativeMargin().thresholds(*samples(), 0.05, TERMS)
    assert found[1] == CPM.thresholds(*samples(), 0.04, TERMS)[1]
    assert found[0] == CPM.thresholds(*samples(), 0.045, TERMS)[0]
    assert found[0] != CPM.thresholds(*samples(), 0.05, TERMS)[0]


def test_without_a_margin_the_factor_changes_nothing():
    assert torch.equal(
        MultiplicativeMargin().thresholds(*samples(), 0.0, TERMS), CPM.thresholds(*samples(), 0.0, TERMS)
    )


def test_a_curve_that_rises_already_is_not_smoothed():
    confidence = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98])
    labels = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0])
    data = confidence, torch.zeros(8, dtype=torch.int64), labels
    assert torch.equal(SmoothedPrecision().thresholds(*data, 0.0, TERMS), CPM.thresholds(*data, 0.0, TERMS))


def test_smoothing_never_asks_for_more_confidence_than_what_was_observed():
    """Pooling moves right answers up among the surest, so no precision above a confidence falls."""
    for seed in range(5):
        data = samples(500, seed)
        smooth, observed = (rule.thresholds(*data, 0.0, TERMS) for rule in (SmoothedPrecision(), CPM))
        assert (smooth <= observed).all()


def test_the_bound_holds_at_every_threshold_down_to_the_one_that_is_taken():
    confidence, predicted, labels = samples()
    thresholds = LowerBound(0.9).thresholds(confidence, predicted, labels, 0.02, TERMS)
    for c, bar in enumerate(TERMS.bars(0.02).tolist()):
        mine = predicted == c

        def bound(level, mine=mine, c=c):
            out = mine & (confidence >= level)
            hits, number = int((labels[out] == c).sum()), int(out.sum())
            return binomtest(hits, number, alternative="greater").proportion_ci(0.9).low

        assert bound(thresholds[c]) >= bar
        looser = confidence[mine & (confidence < thresholds[c])].max()
        assert bound(looser) < bar, "the next one fails, so the search ends"
        assert thresholds[c] > CPM.thresholds(confidence, predicted, labels, 0.02, TERMS)[c]


def test_a_bar_that_no_number_of_samples_can_prove_closes_the_class():
    certain = Terms(precision=torch.tensor([1.0, 0.8]), min_support=5)
    found = LowerBound().thresholds(*samples(), 0.0, certain)
    assert torch.isinf(found[0])
    assert torch.isfinite(found[1])


def test_one_threshold_for_all_classes_is_the_bound_of_all_against_the_mean_bar():
    confidence, predicted, labels = samples()
    found = LowerBoundOfAll(0.9).thresholds(confidence, predicted, labels, 0.02, TERMS)
    assert found[0] == found[1]
    bar = float(TERMS.bars(0.02).mean())

    def bound(out):
        hits = int((labels == predicted)[out].sum())
        return binomtest(hits, int(out.sum()), alternative="greater").proportion_ci(0.9).low

    assert bound(confidence >= found[0]) >= bar
    assert bound(confidence >= confidence[confidence < found[0]].max()) < bar
    alone = LowerBound(0.9).thresholds(confidence, predicted, labels, 0.02, TERMS)
    assert alone.min() < found[0] < alone.max(), "the class with the lower bar has left earlier on its own"


def test_a_class_without_a_bar_is_not_counted_into_the_one_threshold():
    confidence, predicted, labels = samples()
    without = Terms(precision=torch.tensor([torch.nan, 0.8]), min_support=5)
    found = LowerBoundOfAll().thresholds(confidence, predicted, labels, 0.0, without)
    mine = predicted == 1
    alone = LowerBoundOfAll().thresholds(confidence[mine], predicted[mine], labels[mine], 0.0, without)
    assert torch.equal(found, alone)


def test_the_one_threshold_keeps_its_level_where_the_truth_is_known():
    """Right as often as sure, the precision above t is (1 + t) / 2, and the mean bar 0.85."""
    thresholds = [LowerBoundOfAll(0.9).thresholds(*samples(600, seed), 0.0, TERMS)[0] for seed in range(200)]
    broken = sum((1 + float(threshold)) / 2 < 0.85 for threshold in thresholds)
    assert 0 < broken <= 0.14 * 200


@pytest.mark.parametrize("rule", PROMISING.values(), ids=PROMISING)
def test_a_class_that_is_never_named_or_has_no_bar_does_not_leave(rule):
    confidence, predicted, labels = samples(200)
    never = rule.thresholds(confidence, torch.zeros_like(predicted), labels, 0.4, TERMS)
    assert torch.isinf(never[1])
    without = Terms(precision=torch.tensor([torch.nan, 0.8]), min_support=5)
    assert torch.isinf(rule.thresholds(confidence, predicted, labels, 0.2, without)[0])


@pytest.mark.parametrize("rule", PROMISING.values(), ids=PROMISING)
def test_a_looser_margin_never_lets_fewer_out(rule):
    found = [rule.thresholds(*samples(), margin, TERMS) for margin in (-0.05, 0.0, 0.05, 0.1)]
    for strict, loose in itertools.pairwise(found):
        assert (loose <= strict).all()


def test_the_lower_bound_keeps_its_level_where_the_truth_is_known():
    """Right as often as sure, the precision above t is (1 + t) / 2: one draw of ten may miss its bar."""
    broken = dict.fromkeys(("CPM", "CPM, lower bound"), 0)
    for seed in range(200):
        for name in broken:
            threshold = EXIT_RULES[name].thresholds(*samples(600, seed), 0.0, TERMS)[0]
            broken[name] += bool((1 + threshold) / 2 < 0.9)
    assert broken["CPM, lower bound"] <= 0.14 * 200  # a tenth, and three standard errors less the bound's slack
    assert broken["CPM"] > 0.5 * 200


def test_the_table_holds_every_promising_rule(features):
    assert PROMISING.items() <= EXIT_RULES.items()
    confidence, predicted = confidence_and_class(features["valid"].logits)
    assert confidence.shape == predicted.shape
