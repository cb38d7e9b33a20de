import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from btsee_lib import config
from btsee_lib.cost import CostModel
from btsee_lib.data.splits import ImageSet
from btsee_lib.evaluation import BASELINE, BTS_EE
from btsee_lib.features import SplitFeatures
from btsee_lib.trees import BranchTree
from solar_cells import folds, inspection, module_intervals
from solar_cells.folds import EQUAL, UNEQUAL

MARGINS = (-0.1, 0.02, 0.12)
MISS_COST = 3
BOOSTING = config.BoostingParameters(
    seeds=[0],
    margins=[MARGINS] * 3,
    bar_ceiling=1.0,
    class_margins=[-0.1, 0.0],
    min_support=5,
    min_survivors=20,
)
EVALUATION = config.EvaluationParameters(seed=0, resamples=200, confidence=0.95, max_drops=[1.0])


def made_up_fold(number, backbone_strength=2.5, branch_strength=(1.6, 2.0, 2.4)):
    """Two classes, one branch seed; the later a branch, the more often it is right."""
    generator = torch.Generator().manual_seed(number)

    def answers(labels, strength):
        return strength * one_hot(labels, 2) + torch.randn(len(labels), 2, generator=generator)

    labels = {name: (torch.rand(300, generator=generator) < 0.3).long() for name in ("valid", "test")}
    features = {
        name: SplitFeatures((), answers(each, backbone_strength), each) for name, each in labels.items()
    }
    behind = [(2, first, np.nan) for first in MARGINS]
    behind += [(3, first, second) for first in MARGINS for second in MARGINS]
    places = {
        BASELINE.training: [(b, np.nan, np.nan) for b in (1, 2, 3)],
        BTS_EE.training: [(1, np.nan, np.nan), *behind],
    }

    def tree_of(scheme):
        nodes = pd.DataFrame(places[scheme], columns=["branch", "m1", "m2"]).assign(closed=False)
        logits = {
            name: torch.stack([answers(each, branch_strength[b - 1]) for b in nodes["branch"]])
            for name, each in labels.items()
        }
        return BranchTree(scheme, 0, nodes, logits, states=[])

    trees = {scheme: [tree_of(scheme)] for scheme in folds.TRAINED}
    return folds.Fold(
        number=number,
        test=np.arange(300) + 300 * number,
        features=features,
        trees={(kind, scheme): trees[scheme] for kind in (EQUAL, UNEQUAL) for scheme in trees},
        cost=CostModel((40, 30, 20, 10), (1, 1, 1)),
        history=pd.DataFrame(),
    )


@pytest.fixture(scope="module")
def trained():
    return [made_up_fold(0), made_up_fold(1)]


@pytest.fixture(scope="module")
def module():
    return np.arange(600) // 30


def test_a_missed_defect_and_a_false_alarm_are_told_apart():
    predicted, labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    found = inspection.mistakes(predicted, labels)
    assert found["missed"].tolist() == [0, 1, 0, 0]
    assert found["alarm"].tolist() == [0, 0, 1, 0]
    assert inspection.cost_a_cell(**found, miss_cost=3) == pytest.approx(1.0)


def test_answers_without_a_network_miss_all_or_alarm_on_all(trained, module):
    table = module_intervals.summarise(inspection.bare_answers(trained), module, ["scheme"], 3, EVALUATION)
    table = table.set_index("scheme")
    share = np.mean([float(fold.features["test"].labels.double().mean()) for fold in trained])
    assert table.loc["always functional", ["missed", "alarms"]].tolist() == [1, 0]
    assert table.loc["always functional", "cost"] == pytest.approx(3 * share)
    assert table.loc["always defective", ["missed", "alarms"]].tolist() == [0, 1]
    assert table.loc["always defective", "precision"] == pytest.approx(share)
    backbone = table.loc["backbone"]
    assert backbone["missed"] < 0.5
    assert backbone["missed_low"] <= backbone["missed"] <= backbone["missed_high"]


def test_every_scheme_judges_every_cell_once_a_seed(trained):
    cells, choices = inspection.run_schemes(trained, BOOSTING, MISS_COST)
    assert cells.groupby("scheme").size().to_dict() == dict.fromkeys(["backbone", *inspection.SCHEMES], 600)
    assert all(sorted(rows["position"]) == list(range(600)) for _, rows in cells.groupby("scheme"))
    assert len(choices) == 2 * len(inspection.SCHEMES)


def lowest_threshold(confidence, right, bar, support):
    for candidate in np.sort(confidence):
        above = confidence >= candidate
        if above.sum() >= support and right[above].mean() >= bar:
            return candidate
    return np.inf


def by_hand(fold, scheme, margins, split):
    """Labels and MACs of every cell of a split, thresholds set on valid: no function of the library."""
    cell, kind = inspection.SCHEMES[scheme]
    boosted, strict = cell == BTS_EE, kind == UNEQUAL
    tree = fold.trees[kind, cell.training][0]
    rows = [0, 1, 2]
    if boosted:
        rows = [0]
        for before in (1, 2):
            found = tree.nodes["branch"] == before + 1
            for b in range(before):
                found &= tree.nodes[f"m{b + 1}"] == margins[b]
            rows.append(int(np.flatnonzero(found)[0]))
    outputs = {name: tree.logits[name][rows].softmax(-1).max(-1) for name in ("valid", split)}
    confidence = {name: each.values.numpy() for name, each in outputs.items()}
    predicted = {name: each.indices.numpy() for name, each in outputs.items()}
    valid = fold.features["valid"].labels.numpy()
    backbone = {name: fold.features[name].logits.argmax(1).numpy() for name in ("valid", split)}
    inside = {name: np.ones(300, dtype=bool) for name in outputs}
    label, macs = backbone[split].copy(), np.zeros(300)
    for b, margin in enumerate(margins):
        thresholds = []
        for c in (0, 1):
            precision = (valid == c)[backbone["valid"] == c].mean()
            bar = min(precision - margin - (BOOSTING.class_margins[c] if strict else 0), BOOSTING.bar_ceiling)
            judged = (predicted["valid"][b] == c) & (inside["valid"] | (not boosted))
            asked = confidence["valid"][b][judged]
            thresholds.append(lowest_threshold(asked, valid[judged] == c, bar, BOOSTING.min_support))
        macs[inside[split]] += fold.cost.stages[b] + fold.cost.branches[b] * np.isfinite(thresholds).any()
        leaving = {
            name: inside[name] & (confidence[name][b] >= np.array(thresholds)[predicted[name][b]])
            for name in inside
        }
        label[leaving[split]] = predicted[split][b][leaving[split]]
        inside = {name: inside[name] & ~leaving[name] for name in inside}
    macs[inside[split]] += fold.cost.stages[-1]
    return label, macs


def cost_by_hand(label, truth):
    return np.where(label == truth, 0, np.where(truth == 1, MISS_COST, 1)).mean()


@pytest.mark.parametrize("scheme", inspection.SCHEMES)
@pytest.mark.parametrize("number", [1, 2])
def test_a_choice_keeps_the_cost_on_valid_and_no_other_that_keeps_it_saves_more(scheme, number):
    fold = made_up_fold(number)
    truth = fold.features["valid"].labels.numpy()
    allowed = cost_by_hand(fold.features["valid"].logits.argmax(1).numpy(), truth)
    cost, saved = {}, {}
    for candidate in itertools.product(MARGINS, repeat=3):
        label, macs = by_hand(fold, scheme, candidate, "valid")
        cost[candidate] = cost_by_hand(label, truth)
        saved[candidate] = 1 - macs.mean() / fold.cost.backbone
    best = max(saved[candidate] for candidate in saved if cost[candidate] <= allowed)
    assert best > 0
    assert any(saved[candidate] > best for candidate in saved), "nothing tempts: the test would show nothing"
    margins, result = inspection.chosen_on_valid(fold, scheme, 0, BOOSTING, MISS_COST)
    assert cost[margins] <= allowed
    assert saved[margins] == pytest.approx(best)
    label, macs = by_hand(fold, scheme, margins, "test")
    assert np.array_equal(result.exits.label, label)
    assert result.cost.numpy() == pytest.approx(macs)


def test_choosing_never_looks_at_test_labels(trained):
    fold = trained[0]
    test = fold.features["test"]
    shuffled = SplitFeatures((), test.logits, 1 - test.labels)
    other = folds.Fold(**vars(fold) | {"features": fold.features | {"test": shuffled}})
    for scheme in inspection.SCHEMES:
        chosen = [inspection.chosen_on_valid(each, scheme, 0, BOOSTING, MISS_COST)[0] for each in (fold, other)]
        assert chosen[0] == chosen[1]


def test_where_every_configuration_costs_more_the_backbone_runs_alone():
    fold = made_up_fold(0, backbone_strength=40, branch_strength=(-3, -3, -3))
    assert inspection.chosen_on_valid(fold, "BTS-EE, equal margins", 0, BOOSTING, MISS_COST) == (None, None)
    cells, choices = inspection.run_schemes([fold], BOOSTING, MISS_COST)
    assert cells["saved"].sum() == 0
    assert choices[["m1", "m2", "m3"]].isna().all(axis=None)


def test_a_stricter_functional_class_is_left_less_often_and_saves_less(trained, module):
    swept = inspection.sweep_margins(trained, BOOSTING, (0.05, 0.1))
    table = module_intervals.summarise(swept, module, ["scheme", "knob"], 3, EVALUATION).set_index(
        ["scheme", "knob"]
    )
    for knob in (0.05, 0.1):
        assert table.loc[("unequal", knob), "saved"] < table.loc[("equal", knob), "saved"]
        assert table.loc[("unequal", knob), "missed"] <= table.loc[("equal", knob), "missed"]


def test_a_difference_is_paired_and_that_of_a_scheme_with_itself_is_nothing(trained, module):
    cells, _ = inspection.run_schemes(trained, BOOSTING, MISS_COST)
    name = "BTS-EE, equal margins"
    table = module_intervals.differences(cells, module, [(name, name), ("backbone", name)], 3, EVALUATION)
    assert (table.iloc[0].drop(["scheme", "less"]) == 0).all()
    schemes = module_intervals.summarise(cells, module, ["scheme"], 3, EVALUATION).set_index("scheme")
    for measure in ("missed", "alarms", "cost", "saved"):
        between = schemes.loc[name, measure] - schemes.loc["backbone", measure]
        assert table.loc[1, measure] == pytest.approx(between)


def test_fallbacks_are_counted_by_scheme():
    hopeless = made_up_fold(0, backbone_strength=40, branch_strength=(-3, -3, -3))
    _, choices = inspection.run_schemes([hopeless, made_up_fold(1)], BOOSTING, MISS_COST)
    counted = inspection.count_fallbacks(choices)
    assert counted["scheme"].tolist() == list(inspection.SCHEMES)
    assert (counted["choices"] == 2).all()
    assert (counted["fallbacks"] == 1).all()


def test_defective_cells_are_repeated_and_every_cell_is_shown_upside_down():
    images = torch.arange(3 * 4, dtype=torch.uint8).view(3, 1, 2, 2)
    shown = folds.weighted_by_cost(ImageSet(images, torch.tensor([0, 1, 0])), miss_cost=3)
    assert shown.labels.tolist() == 2 * [0, 1, 1, 1, 0]
    assert torch.equal(shown.images[5:], shown.images[:5].flip(2))
    assert torch.equal(shown.images[1], images[1])
