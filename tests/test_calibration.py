import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from btsee_lib.calibration import (
    CPM,
    Terms,
    calibrate,
    class_precision,
    confidence_and_class,
    cpm_thresholds,
    leaves,
    precision_above,
)
from btsee_lib.exit_rules import EXIT_RULES

NUM_CLASSES = 4
TIED = st.sampled_from([0.25, 0.3, 0.5, 0.75, 0.9, 1.0])
ANY_CONFIDENCE = st.floats(0.25, 1, width=32)
BAR = st.sampled_from([math.nan, 0.0, 1 / 3, 0.5, 2 / 3, 0.9, 1.0, 1.01]) | st.floats(-0.2, 1.2)


@st.composite
def cases(draw):
    """Samples in which some classes are rare or never predicted, and confidences are often equal."""
    number = draw(st.integers(0, 30))
    classes = draw(st.lists(st.integers(0, NUM_CLASSES - 1), min_size=1, max_size=NUM_CLASSES))
    column = {
        "confidence": draw(st.sampled_from([TIED, ANY_CONFIDENCE, TIED | ANY_CONFIDENCE])),
        "predicted": st.sampled_from(classes),
        "labels": st.integers(0, NUM_CLASSES - 1),
    }
    case = {
        name: torch.tensor(
            draw(st.lists(values, min_size=number, max_size=number)),
            dtype=torch.float32 if name == "confidence" else torch.int64,
        )
        for name, values in column.items()
    }
    bars = draw(st.lists(BAR, min_size=NUM_CLASSES, max_size=NUM_CLASSES))
    return case | {"bars": torch.tensor(bars, dtype=torch.float64), "min_support": draw(st.integers(1, 6))}


def smallest_allowed_confidence(confidence, predicted, labels, bar, c, min_support):
    """The rule read aloud, one candidate at a time."""
    allowed = [math.inf]
    for candidate in {t for t, answer in zip(confidence, predicted, strict=True) if answer == c}:
        truths = [
            truth
            for t, answer, truth in zip(confidence, predicted, labels, strict=True)
            if answer == c and t >= candidate
        ]
        if len(truths) >= min_support and truths.count(c) / len(truths) >= bar:
            allowed.append(candidate)
    return min(allowed)


@given(cases())
def test_thresholds_are_those_of_a_brute_force_search(case):
    lists = [case[name].tolist() for name in ("confidence", "predicted", "labels")]
    expected = [
        smallest_allowed_confidence(*lists, bar, c, case["min_support"])
        for c, bar in enumerate(case["bars"].tolist())
    ]
    assert cpm_thresholds(**case).tolist() == expected


@given(cases())
def test_what_leaves_keeps_the_promise_on_its_own_calibration_samples(case):
    out = leaves(case["confidence"], case["predicted"], cpm_thresholds(**case))
    for c in case["predicted"][out].unique().tolist():
        right = case["labels"][out & (case["predicted"] == c)] == c
        assert len(right) >= case["min_support"]
        assert int(right.sum()) / len(right) >= float(case["bars"][c])


@given(cases(), st.integers(1, 5))
def test_more_required_support_never_lowers_a_threshold(case, more):
    stricter = cpm_thresholds(**case | {"min_support": case["min_support"] + more})
    assert (stricter >= cpm_thresholds(**case)).all()


@given(cases(), st.randoms(use_true_random=False))
def test_thresholds_do_not_depend_on_the_order_of_samples(case, random):
    order = list(range(len(case["labels"])))
    random.shuffle(order)
    shuffled = case | {name: case[name][order] for name in ("confidence", "predicted", "labels")}
    assert torch.equal(cpm_thresholds(**shuffled), cpm_thresholds(**case))


def one_class(confidence, right, bar, min_support=1):
    """The threshold of class 0 when all samples are predicted 0."""
    labels = torch.tensor([0 if each else 1 for each in right])
    predicted = torch.zeros(len(right), dtype=torch.int64)
    bars = torch.tensor([bar, 0.5], dtype=torch.float64)
    return cpm_thresholds(torch.tensor(confidence), predicted, labels, bars, min_support)[0].item()


def test_the_lowest_good_threshold_is_taken_across_a_dip_in_precision():
    confidence, right = [0.9, 0.8, 0.7, 0.6], [True, False, True, True]
    assert one_class(confidence, right, bar=0.75) == pytest.approx(0.6)
    assert one_class(confidence[:3], right[:3], bar=0.75) == pytest.approx(0.9)


def test_equal_confidences_stand_or_fall_together():
    assert one_class([0.9, 0.9, 0.8], [True, False, False], bar=1.0) == math.inf
    assert one_class([0.9, 0.9, 0.8], [True, False, False], bar=0.5) == pytest.approx(0.9)


def test_a_precision_equal_to_its_bar_is_enough():
    assert one_class([0.9, 0.8, 0.7], [True, True, False], bar=2 / 3) == pytest.approx(0.7)


@pytest.mark.parametrize("bar", [math.nan, 1.001])
def test_a_bar_that_cannot_be_met_closes_the_class(bar):
    assert one_class([0.9, 0.8], [True, True], bar) == math.inf


def test_too_small_a_support_closes_the_class():
    assert one_class([0.9, 0.8], [True, True], bar=0.5, min_support=3) == math.inf
    assert one_class([0.9, 0.8], [True, True], bar=0.5, min_support=2) == pytest.approx(0.8)


def test_thresholds_have_the_dtype_of_the_confidence():
    for dtype in (torch.float32, torch.float64):
        confidence = torch.tensor([0.1, 0.7], dtype=dtype)
        zeros = torch.zeros(2, dtype=torch.int64)
        thresholds = cpm_thresholds(confidence, zeros, zeros, torch.tensor([0.5]), 1)
        assert thresholds.dtype == dtype
        assert thresholds[0] == confidence[0]


def test_precision_above_counts_all_samples_at_or_above_each_confidence():
    confidence = torch.tensor([0.5, 0.9, 0.5, 0.7])
    right = torch.tensor([True, True, False, False])
    candidates, precision, support = precision_above(confidence, right)
    assert torch.equal(candidates, torch.tensor([0.9, 0.7, 0.5]))
    assert precision.tolist() == [1.0, 0.5, 0.5]
    assert support.tolist() == [1, 2, 4]


def test_class_precision_by_hand_is_nan_for_a_class_never_predicted():
    predicted, labels = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 1, 1])
    precision = class_precision(predicted, labels, 4)
    assert precision.dtype == torch.float64
    assert precision.tolist() == pytest.approx([2 / 3, math.nan, 0.0, math.nan], nan_ok=True)


def test_class_precision_of_the_backbone_agrees_with_scikit_learn(features):
    from sklearn.metrics import precision_score

    valid = features["valid"]
    expected = precision_score(valid.labels, valid.predicted, average=None, zero_division=math.nan)
    assert class_precision(valid.predicted, valid.labels, 10).tolist() == pytest.approx(expected, nan_ok=True)


# Two branches, two classes. Branch 1 lets samples 0 to 3 leave. On all samples the second branch
# is right about class 0 down to 0.6; of what survives, only those at 0.7 and above are right.
CONFIDENCE = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.6], [0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5]])
PREDICTED = torch.zeros(2, 8, dtype=torch.int64)
LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
TERMS = Terms(precision=torch.full((2,), 0.85, dtype=torch.float64), min_support=2)


def test_calibration_on_survivors_by_hand():
    thresholds = calibrate(CONFIDENCE, PREDICTED, LABELS, [0.0, 0.0], TERMS, "survivors")
    assert torch.equal(thresholds, torch.tensor([[0.9, torch.inf], [0.7, torch.inf]]))


def test_calibration_on_the_full_split_by_hand():
    thresholds = calibrate(CONFIDENCE, PREDICTED, LABELS, [0.0, 0.0], TERMS, "full")
    assert torch.equal(thresholds, torch.tensor([[0.9, torch.inf], [0.6, torch.inf]]))


def test_each_branch_has_its_own_margin():
    thresholds = calibrate(CONFIDENCE, PREDICTED, LABELS, [0.15, -0.1], TERMS, "full")
    assert torch.equal(thresholds, torch.tensor([[0.6, torch.inf], [0.7, torch.inf]]))


def test_a_closed_branch_lets_nothing_out_and_passes_all_on():
    closed = [True, False]
    thresholds = calibrate(CONFIDENCE, PREDICTED, LABELS, [0.0, 0.0], TERMS, "survivors", closed=closed)
    assert torch.equal(thresholds, torch.tensor([[torch.inf, torch.inf], [0.6, torch.inf]]))


def test_a_class_of_unknown_precision_leaves_nowhere():
    unknown = Terms(torch.tensor([torch.nan, 0.85], dtype=torch.float64), min_support=2)
    thresholds = calibrate(CONFIDENCE, PREDICTED, LABELS, [0.0, 0.0], unknown)
    assert torch.equal(thresholds, torch.full((2, 2), torch.inf))


PRECISION = torch.tensor([0.9, 0.5, torch.nan], dtype=torch.float64)


def test_bars_are_the_precision_less_the_margin_up_to_the_ceiling():
    terms = Terms(PRECISION, min_support=1, ceiling=0.95)
    for margin, expected in ((0.1, [0.8, 0.4]), (0.0, [0.9, 0.5]), (-0.2, [0.95, 0.7])):
        bars = terms.bars(margin)
        assert bars.dtype == torch.float64
        assert bars.tolist() == pytest.approx([*expected, math.nan], nan_ok=True)
    assert Terms(PRECISION, min_support=1, ceiling=2.0).bars(-0.2)[0].item() == pytest.approx(1.1)


def test_a_margin_of_a_class_moves_the_bars_of_that_class_alone():
    plain = Terms(PRECISION, min_support=1, ceiling=0.95)
    moved = Terms(PRECISION, min_support=1, ceiling=0.95, class_margins=[-0.05, 0.0, -0.05])
    for margin, expected in ((0.1, 0.85), (-0.2, 0.95)):
        assert moved.bars(margin)[0].item() == pytest.approx(expected)
        assert moved.bars(margin)[1] == plain.bars(margin)[1]
        assert moved.bars(margin)[2].isnan()


@pytest.mark.parametrize("margin", [-0.04, 0.0])
def test_no_margins_of_classes_and_margins_of_zero_give_the_same_bits(margin):
    precision = torch.rand(10, dtype=torch.float64)
    plain = Terms(precision, min_support=1).bars(margin)
    assert torch.equal(plain, Terms(precision, min_support=1, class_margins=[0.0] * 10).bars(margin))
    assert torch.equal(plain, (precision - margin).clamp(max=1))


def test_margins_of_classes_are_one_a_class():
    terms = Terms(torch.ones(3), min_support=1, class_margins=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"boosting\.class_margins has 2 numbers: give one for each of the 3"):
        terms.bars(0.0)


@given(cases(), st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=2), st.floats(0.5, 2))
def test_a_larger_margin_never_raises_a_threshold(case, margins, ceiling):
    terms = Terms(case["bars"], case["min_support"], ceiling)
    samples = [case[name] for name in ("confidence", "predicted", "labels")]
    strict, wide = (CPM.thresholds(*samples, margin, terms) for margin in sorted(margins))
    assert (wide <= strict).all()


@pytest.fixture(scope="module")
def calibration_case(features, independent, terms):
    """What three real branches say of the validation images."""
    confidence, predicted = confidence_and_class(torch.stack([each.logits["valid"] for each in independent]))
    labels = features["valid"].labels
    return {
        "confidence": confidence,
        "predicted": predicted,
        "labels": labels,
        "knobs": [-0.1, -0.1, -0.05],
        "terms": terms,
    }


def test_the_first_branch_is_calibrated_equally_on_both(calibration_case):
    full, survivors = (calibrate(**calibration_case, calibration=on) for on in ("full", "survivors"))
    assert torch.isfinite(full[0]).any()
    assert torch.equal(full[0], survivors[0])
    assert not torch.equal(full[1:], survivors[1:])


def test_calibration_on_survivors_applies_the_rule_to_what_is_left(calibration_case, terms):
    thresholds = calibrate(**calibration_case, calibration="survivors")
    left = torch.ones(len(calibration_case["labels"]), dtype=torch.bool)
    for b, margin in enumerate(calibration_case["knobs"]):
        confidence, predicted = calibration_case["confidence"][b], calibration_case["predicted"][b]
        expected = cpm_thresholds(
            confidence[left],
            predicted[left],
            calibration_case["labels"][left],
            (terms.precision - margin).clamp(max=terms.ceiling),
            terms.min_support,
        )
        assert torch.equal(thresholds[b], expected)
        left &= confidence < expected[predicted]


def test_survivors_are_what_calibration_is_on_unless_told_otherwise(calibration_case):
    default, survivors = calibrate(**calibration_case), calibrate(**calibration_case, calibration="survivors")
    assert torch.equal(default, survivors)


def test_an_unknown_calibration_is_refused_by_name(calibration_case):
    with pytest.raises(ValueError, match="'half': use 'full' or 'survivors'"):
        calibrate(**calibration_case, calibration="half")


@pytest.mark.parametrize(("name", "knob", "threshold"), [("confidence", 0.8, 0.8), ("entropy", 0.3, -0.3)])
def test_a_rule_of_one_threshold_has_the_same_one_for_all_classes(calibration_case, name, knob, threshold):
    case = calibration_case | {"knobs": [knob, knob, knob / 2], "rule": EXIT_RULES[name]}
    expected = torch.tensor([threshold, threshold, threshold / 2])[:, None].expand(3, 10)
    for calibration in ("full", "survivors"):
        assert torch.equal(calibrate(**case, calibration=calibration), expected)


@pytest.mark.parametrize("name", EXIT_RULES)
def test_every_rule_names_the_most_probable_class(features, name):
    logits = features["valid"].logits
    confidence, predicted = EXIT_RULES[name].outputs(logits)
    assert torch.equal(confidence, EXIT_RULES[name].confidence(logits))
    assert torch.equal(predicted, logits.argmax(1))


def test_a_sample_leaves_at_its_threshold_and_not_below():
    thresholds = torch.tensor([0.5, torch.inf])
    confidence, predicted = torch.tensor([0.5, 0.4999, 1.0]), torch.tensor([0, 0, 1])
    assert leaves(confidence, predicted, thresholds).tolist() == [True, False, False]


def test_confidence_is_the_largest_probability():
    confidence, predicted = confidence_and_class(torch.tensor([[[0.0, math.log(3.0)]], [[5.0, -5.0]]]))
    assert predicted.tolist() == [[1], [0]]
    assert confidence[0, 0].item() == pytest.approx(0.75)
    assert confidence[1, 0].item() == pytest.approx(1 / (1 + math.exp(-10)))


@pytest.mark.parametrize("name", ["CPM", "confidence"])
def test_two_rules_are_as_sure_as_the_largest_probability(features, name):
    logits = features["valid"].logits
    assert torch.equal(EXIT_RULES[name].confidence(logits), confidence_and_class(logits)[0])
