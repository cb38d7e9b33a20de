import pytest
import torch

from btsee_lib.cascade import Cascade
from btsee_lib.deployment import engines, timed_models
from btsee_lib.deployment.cascade_file import new_cascade
from btsee_lib.deployment.timed_models import BACKBONE, Model
from btsee_lib.exit_rules import EXIT_RULES


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def models(cascade, backbone, description):
    return {
        "published": Model(cascade, description),
        BACKBONE: timed_models.without_exits(backbone, description),
    }


def shares(model, images):
    return (torch.bincount(timed_models.exits_of(model, images), minlength=4) / len(images)).tolist()


def test_a_network_without_exits_answers_as_the_backbone(models, features, images):
    assert set(timed_models.exits_of(models[BACKBONE], images).tolist()) == {3}
    found = engines.eager(*models[BACKBONE])(images).label
    assert torch.equal(found, features["test"].predicted[:120])


def test_a_network_of_another_width_is_described_with_it(models, description):
    narrow = new_cascade(description.model_copy(update={"width": 12})).backbone
    assert timed_models.without_exits(narrow, description).description.width == 12


def test_macs_are_those_of_the_exit_that_an_image_takes(models, images):
    spent = timed_models.macs_of(models["published"], images)
    by_exit = models["published"].cost.by_exit(models["published"].cascade.thresholds)
    assert spent.tolist() == by_exit[timed_models.exits_of(models["published"], images)].tolist()
    assert set(timed_models.macs_of(models[BACKBONE], images)) == {models[BACKBONE].cost.backbone}


def test_copies_at_another_width_let_the_same_shares_out(models, images):
    copies = timed_models.at_full_width(models, images, 16)
    assert set(copies) == set(models)
    assert copies[BACKBONE].description.width == 16
    assert shares(copies["published"], images) == pytest.approx(shares(models["published"], images), abs=0.03)


@pytest.mark.parametrize("row", [0, 2])
def test_a_branch_that_is_closed_is_closed_in_the_copy(models, images, row):
    thresholds = models["published"].cascade.thresholds.clone()
    thresholds[row] = torch.inf
    shut = {**models, "published": models["published"].with_thresholds(thresholds)}
    copy = timed_models.at_full_width(shut, images, 16)["published"]
    assert copy.cascade.closed == shut["published"].cascade.closed
    assert shares(copy, images) == pytest.approx(shares(shut["published"], images), abs=0.03)


@pytest.mark.parametrize("rule", EXIT_RULES.values(), ids=EXIT_RULES)
@pytest.mark.parametrize(("exit_number", "run"), [(0, 3), (1, 3), (2, 3), (3, 3), (3, 2), (3, 0)])
def test_all_leave_at_one_exit_and_just_the_branches_asked_for_are_open(
    cascade, images, description, exit_number, run, rule
):
    thresholds = timed_models.leaving_at(exit_number, run, 3, 10)
    forced = Cascade(cascade.backbone, cascade.branches, thresholds, rule=rule)
    assert set(engines.eager(forced, description)(images).exit.tolist()) == {exit_number}
    assert forced.closed == [False] * run + [True] * (3 - run)


@pytest.mark.parametrize("rule", ["CPM", "entropy"])
@pytest.mark.parametrize(
    "given", [[0.5, 0.25, 0.15, 0.1], [0.9, 0.0, 0.0, 0.1], [0.0, 0.0, 0.5, 0.5], [1.0, 0, 0, 0]]
)
def test_an_untrained_cascade_is_made_to_let_given_shares_out(description, images, given, rule):
    torch.manual_seed(0)
    fresh = new_cascade(description.model_copy(update={"rule": rule}))
    normalised = description.normalise(torch.from_numpy(images))
    thresholds = timed_models.forced_shares(fresh, normalised, given, [False] * 3)
    forced = Cascade(fresh.backbone, fresh.branches, thresholds, rule=fresh.rule)
    assert shares(Model(forced, description), images) == pytest.approx(given, abs=0.02)
    assert not any(forced.closed)
