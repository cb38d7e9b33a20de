import pandas as pd
import pytest
import torch

from btsee_lib import boosting, config
from btsee_lib.branches import branch_logits
from btsee_lib.cost import count_macs
from btsee_lib.features import SplitFeatures
from btsee_lib.schemes import SCHEMES
from btsee_lib.studies import branch_design

CLASSES = 3
SHAPES = ((4, 8), (6, 8), (8, 4))  # of the strips that the three branches read


@pytest.fixture(scope="module")
def some_features():
    """Strips of noise with a class in their mean, and a backbone that is nearly always right."""
    generator = torch.Generator().manual_seed(0)
    features = {}
    for name, number in (("train", 120), ("valid", 90)):
        labels = torch.randint(CLASSES, (number,), generator=generator)
        shift = (labels - 1).view(-1, 1, 1).float()
        strips = tuple(shift + torch.randn(number, *shape, generator=generator) for shape in SHAPES)
        logits = 4 * torch.eye(CLASSES)[labels] + torch.randn(number, CLASSES, generator=generator)
        features[name] = SplitFeatures(strips, logits, labels)
    return features


@pytest.fixture(scope="module")
def few_parameters():
    return config.BranchParameters(
        channels=4,
        kernel_size=3,
        labels="truth",
        epochs=4,
        batch_size=40,
        learning_rate=0.02,
        weight_decay=0.01,
    )


@pytest.fixture(scope="module")
def few_margins():
    """Behind the only margin nothing leaves: it asks for more than certainty."""
    return config.BoostingParameters(
        seeds=[0], margins=[[-1.0]] * 3, bar_ceiling=2.0, min_support=3, min_survivors=10
    )


@pytest.fixture(scope="module")
def widths(some_features, few_parameters):
    return branch_design.branch_width(some_features, few_parameters, backbone_macs=100_000, seed=0)


def test_every_branch_is_tried_at_every_width(widths):
    assert list(widths.columns) == ["branch", "channels", "macs", "share", "valid_accuracy"]
    tried = list(zip(widths["channels"], widths["branch"], strict=True))
    assert tried == [(channels, branch) for channels in branch_design.WIDTHS for branch in (1, 2, 3)]
    assert widths["valid_accuracy"].between(0.5, 1).all()


def test_the_cost_of_a_width_is_counted_on_its_branch(widths, some_features, few_parameters):
    assert widths["share"].to_numpy() == pytest.approx(widths["macs"].to_numpy() / 100_000)
    for row in widths.itertuples():
        parameters = few_parameters.model_copy(update={"channels": row.channels})
        branch = boosting.initial_branch(row.branch, some_features, parameters, seed=0)
        assert row.macs == count_macs(branch, some_features["train"].squeezed[row.branch - 1][:1])
    assert (widths.groupby("branch")["macs"].diff().dropna() > 0).all()


def behind(few_margins, *margins):
    return few_margins.model_copy(update={"margins": [list(margins), [0.0], [0.0]]})


def test_where_nothing_leaves_all_three_trainings_are_one(some_features, few_parameters, few_margins):
    table = branch_design.training_effort(some_features, few_parameters, few_margins, seed=0)
    assert list(table.columns) == ["m1", "survivors", "training", "valid_accuracy"]
    assert table["training"].tolist() == ["independent", "boosted, equal visits", "boosted, equal epochs"]
    assert table["survivors"].tolist() == [120] * 3
    assert table["m1"].tolist() == [-1.0] * 3
    assert table["valid_accuracy"].nunique() == 1


def test_a_margin_that_leaves_too_few_survivors_is_not_tried(some_features, few_parameters, few_margins):
    """A margin of one asks for no precision at all, so all leave."""
    table = branch_design.training_effort(
        some_features, few_parameters, behind(few_margins, 1.0, -1.0, 0.99), seed=0
    )
    assert table["m1"].unique().tolist() == [-1.0]
    assert len(table) == 3


def test_survivors_are_those_whom_the_first_branch_of_the_seed_passes_on(
    some_features, few_parameters, few_margins
):
    parameters = behind(few_margins, 0.0, 0.1)
    table = branch_design.training_effort(some_features, few_parameters, parameters, seed=4)
    first = next(boosting.train_tree(SCHEMES["independent"], some_features, few_parameters, parameters, seed=4))
    terms, labels = boosting.calibration_terms(some_features, parameters), some_features["valid"].labels
    for margin in (0.0, 0.1):
        everyone = boosting.everyone(some_features)
        remains = boosting.who_remains(first.logits, everyone, labels, margin, terms)
        found = table.loc[table["m1"] == margin, "survivors"]
        assert found.tolist() == [int(remains["train"].sum())] * 3
        assert 10 <= found.iloc[0] < 120


def test_only_survivors_are_trained_on_and_counted(some_features, few_parameters, few_margins, monkeypatch):
    stays = {name: some_features[name].labels == 2 for name in some_features}
    monkeypatch.setattr(branch_design, "who_remains", lambda *_: stays)
    table = branch_design.training_effort(some_features, few_parameters, few_margins, seed=0)
    assert table["survivors"].tolist() == [int(stays["train"].sum())] * 3
    accuracy = dict(zip(table["training"], table["valid_accuracy"], strict=True))
    arguments = (some_features, boosting.everyone(some_features), few_parameters, few_margins)
    branch = boosting.fit_branch(2, SCHEMES["independent"], *arguments, seed=0)
    answers = branch_logits(branch, some_features["valid"].squeezed[1]).argmax(1)[stays["valid"]]
    assert accuracy["independent"] == pytest.approx(float((answers == 2).double().mean()))
    # Whoever has only ever seen class 2 knows nothing else.
    assert accuracy["boosted, equal visits"] == 1
    assert accuracy["boosted, equal visits"] >= accuracy["boosted, equal epochs"]


def test_a_study_is_decided_by_the_seed(some_features, few_parameters, few_margins):
    parameters = behind(few_margins, 0.0)
    tables = [
        branch_design.training_effort(some_features, few_parameters, parameters, seed) for seed in (0, 0, 1)
    ]
    pd.testing.assert_frame_equal(*tables[:2])
    assert not tables[2].equals(tables[0])
