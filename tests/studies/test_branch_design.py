import pandas as pd
import pytest
import torch

from btsee_lib import boosting, config, fitting
from btsee_lib.branches import Conv1dBranch, branch_logits
from btsee_lib.cost import count_macs
from btsee_lib.features import SplitFeatures
from btsee_lib.schemes import PAPER_SCHEMES
from btsee_lib.studies import branch_design
from btsee_lib.studies.branch_design import EFFORTS, KINDS, StripBranch

CLASSES = 3
SHAPES = ((4, 4, 4), (6, 4, 4), (8, 2, 2))  # of the grids that the three branches read


@pytest.fixture(scope="module")
def some_features():
    """Grids of noise with a class in their mean, and a backbone that is nearly always right."""
    generator = torch.Generator().manual_seed(0)
    features = {}
    for name, number in (("train", 120), ("valid", 90)):
        labels = torch.randint(CLASSES, (number,), generator=generator)
        shift = 0.3 * (labels - 1).view(-1, 1, 1, 1).float()
        grids = tuple(shift + torch.randn(number, *shape, generator=generator) for shape in SHAPES)
        logits = 4 * torch.eye(CLASSES)[labels] + torch.randn(number, CLASSES, generator=generator)
        features[name] = SplitFeatures(grids, logits, labels)
    return features


@pytest.fixture(scope="module")
def few_parameters(branch_parameters):
    return branch_parameters.model_copy(update={"channels": [4, 4, 4], "batch_size": 40})


@pytest.fixture(scope="module")
def few_margins():
    """Of three margins the one in the middle is taken: it lets some leave."""
    return config.BoostingParameters(
        seeds=[0], margins=[[-1.0, 0.3, 1.0]] * 3, bar_ceiling=2.0, min_support=3, min_survivors=10
    )


@pytest.fixture(scope="module")
def curves(some_features, few_parameters, few_margins):
    return branch_design.learning_curves(some_features, few_parameters, few_margins, seed=0)


@pytest.fixture(scope="module")
def kinds(backbone, splits, features, few_parameters):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branch_design, "IMAGES", 200)
        patch.setattr(branch_design, "WIDTHS", (4, 8))
        arguments = (backbone, splits, features, few_parameters)
        tables = [
            branch_design.branch_kind(kind, *arguments, backbone_macs=1_000_000, seed=0) for kind in KINDS
        ]
    return pd.concat(tables, ignore_index=True)


def test_every_branch_is_tried_in_every_kind_at_every_width(kinds):
    assert list(kinds.columns) == ["kind", "branch", "channels", "macs", "share", "valid_accuracy"]
    tried = list(zip(kinds["kind"], kinds["branch"], kinds["channels"], strict=True))
    assert tried == [(kind, branch, channels) for kind in KINDS for branch in (1, 2, 3) for channels in (4, 8)]
    assert kinds["valid_accuracy"].between(0.2, 1).all()
    assert (kinds["share"] == kinds["macs"] / 1_000_000).all()


def test_the_cost_of_a_kind_is_counted_on_its_branch(kinds, backbone, splits):
    feature_map = backbone.stages[0](splits.normalise(splits.test.images[:1]))
    for kind, (branch_type, kernel_size) in KINDS.items():
        branch = branch_type(feature_map.shape[1], 10, 4, kernel_size).eval()
        expected = count_macs(branch, branch.squeeze(feature_map))
        rows = kinds[(kinds["kind"] == kind) & (kinds["branch"] == 1) & (kinds["channels"] == 4)]
        assert rows["macs"].tolist() == [expected]


def test_squeezed_maps_are_those_of_the_stored_features(backbone, splits, features):
    found = branch_design.squeezed_maps(backbone, splits, splits.valid.images[:60], Conv1dBranch.squeeze, 25)
    for each, stored in zip(found, features["valid"].squeezed, strict=True):
        torch.testing.assert_close(each, stored[:60], atol=1e-5, rtol=1e-5)


def test_strips_are_the_means_of_rows_and_of_columns_read_by_the_same_filters():
    feature_map = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert StripBranch.squeeze(feature_map).tolist() == [[[[1.5, 4.5], [2.0, 4.0]]]]
    torch.manual_seed(0)
    branch = StripBranch(6, 5, channels=3, kernel_size=3).eval()
    map_of_noise = torch.randn(4, 6, 14, 14)
    branch(branch.squeeze(map_of_noise))
    with torch.no_grad():
        half = branch.classifier.in_features // 2
        branch.classifier.weight[:, half:] = branch.classifier.weight[:, :half]
    upright, turned = (branch(branch.squeeze(each)) for each in (map_of_noise, map_of_noise.transpose(2, 3)))
    torch.testing.assert_close(upright, turned)


def test_every_branch_is_trained_by_every_scheme_for_every_number_of_visits(curves, few_parameters):
    assert list(curves.columns) == ["branch", "survivors", "training", "epochs", "valid_accuracy"]
    for (branch, _), rows in curves.groupby(["branch", "training"]):
        efforts = (rows["epochs"] / few_parameters.epochs).tolist()
        assert set(EFFORTS) <= set(efforts) and efforts == sorted(efforts), branch
    assert len(curves.groupby(["branch", "training"])) == 3 * len(PAPER_SCHEMES)
    assert curves["valid_accuracy"].nunique() > 4


def test_where_all_images_survive_a_hard_filter_changes_nothing(curves):
    first = curves[curves["branch"] == 1]
    assert (first["survivors"] == 120).all()
    one, other = (rows["valid_accuracy"].tolist() for _, rows in first.groupby("training"))
    assert one == other


def test_branches_are_judged_on_whom_boosted_branches_pass_on(
    curves, some_features, few_parameters, few_margins
):
    margins = few_margins.model_copy(update={"margins": [[0.3]] * 3})
    first, second, third = boosting.train_tree(
        PAPER_SCHEMES["boosted"], some_features, few_parameters, margins, seed=0
    )
    assert curves["survivors"].unique().tolist() == [each.train_survivors for each in (first, second, third)]
    terms, labels = boosting.calibration_terms(some_features, margins), some_features["valid"].labels
    reach = fitting.everyone(some_features)
    reach = boosting.who_remains(first.logits, reach, labels, 0.3, terms)["valid"]
    assert 10 <= int(reach.sum()) < 90
    found = curves.query("branch == 2 and training == 'boosted'").set_index("epochs")["valid_accuracy"]
    right = (second.logits["valid"].argmax(1) == labels)[reach]
    assert found[few_parameters.epochs] == pytest.approx(float(right.double().mean()))
    arguments = (some_features, fitting.everyone(some_features), few_parameters, few_margins)
    branch = fitting.fit_exit(2, PAPER_SCHEMES["independent"], *arguments, seed=0).branch
    right = (branch_logits(branch, some_features["valid"].squeezed[1]).argmax(1) == labels)[reach]
    found = curves.query("branch == 2 and training == 'independent'").set_index("epochs")["valid_accuracy"]
    assert found[few_parameters.epochs] == pytest.approx(float(right.double().mean()))


def test_the_study_ends_where_too_few_survive(some_features, few_parameters, few_margins):
    """A margin of one asks for no precision at all, so all leave at branch 1."""
    none_left = few_margins.model_copy(update={"margins": [[-1.0, 1.0, 0.5]] * 3})
    table = branch_design.learning_curves(some_features, few_parameters, none_left, seed=0)
    assert set(table["branch"]) == {1}
    assert set(table["training"]) == set(PAPER_SCHEMES)


def test_where_even_the_first_branch_is_closed_there_are_columns_and_no_rows(
    some_features, few_parameters, few_margins
):
    nobody = few_margins.model_copy(update={"min_survivors": 1000})
    table = branch_design.learning_curves(some_features, few_parameters, nobody, seed=0)
    assert list(table.columns) == branch_design.CURVE
    assert len(table) == 0


def test_a_study_is_decided_by_the_seed(curves, some_features, few_parameters, few_margins):
    again, other = (
        branch_design.learning_curves(some_features, few_parameters, few_margins, seed) for seed in (0, 1)
    )
    pd.testing.assert_frame_equal(again, curves)
    assert not other.equals(curves)


def test_a_curve_goes_on_until_its_best_lies_inside_or_at_the_end_of_what_is_tried():
    def falls_from(peak):
        return branch_design.to_beyond_the_best(lambda effort: -abs(effort - peak))

    assert list(falls_from(0.5)) == list(EFFORTS)
    assert list(falls_from(4)) == [*EFFORTS, 4, 8]
    assert list(falls_from(0)) == [1 / 16, 1 / 8, *EFFORTS]
    assert list(falls_from(100)) == [*EFFORTS, 4, 8]


def test_the_best_number_of_visits_is_that_of_the_most_accurate_row_of_a_branch_and_scheme(curves):
    best = branch_design.best_visits(curves)
    assert len(best) == 3 * len(PAPER_SCHEMES)
    for row in best.itertuples():
        mine = curves.query("branch == @row.branch and training == @row.training")
        assert row.valid_accuracy == mine["valid_accuracy"].max()
