import numpy as np
import pytest
import torch

from btsee_lib.cascade import Cascade
from btsee_lib.deployment import timed_models
from btsee_lib.deployment.cascade_file import new_cascade
from btsee_lib.deployment.timed_models import BACKBONE, Model
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES
from btsee_lib.exit_rules import EXIT_RULES


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def models(cascade, backbone, description):
    return {
        "published": Model(cascade, description),
        BACKBONE: Model.without_exits(backbone, description),
    }


def shares(model, images):
    return (torch.bincount(model.answers(images).exit, minlength=4) / len(images)).tolist()


def test_a_network_without_exits_answers_as_the_backbone(models, features, images):
    assert set(models[BACKBONE].answers(images).exit.tolist()) == {3}
    found = models[BACKBONE].predict(images).label
    assert torch.equal(found, features["test"].predicted[:120])


def test_a_network_of_another_width_is_described_with_it(models, description):
    narrow = new_cascade(description.model_copy(update={"width": 12})).backbone
    assert Model.without_exits(narrow, description).description.width == 12


def test_macs_are_those_of_the_exit_that_an_image_takes(models, images):
    spent = models["published"].macs(images)
    by_exit = models["published"].cost.by_exit(models["published"].cascade.thresholds)
    assert spent.tolist() == by_exit[models["published"].answers(images).exit].tolist()
    assert set(models[BACKBONE].macs(images)) == {models[BACKBONE].cost.backbone}


def test_copies_at_another_width_let_the_same_shares_out(models, images):
    copies = timed_models.at_full_width(models, images, 16)
    assert set(copies) == set(models)
    assert copies[BACKBONE].description.width == 16
    assert shares(copies["published"], images) == pytest.approx(shares(models["published"], images), abs=0.03)


@pytest.mark.parametrize("row", [0, 2, slice(None)])
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
    ruled = Cascade(cascade.backbone, cascade.branches, cascade.thresholds, cascade.image_shape, rule)
    forced = Model(ruled, description).leaving_at(exit_number, run)
    assert set(forced.answers(images).exit.tolist()) == {exit_number}
    assert forced.cascade.closed == [False] * run + [True] * (3 - run)


@pytest.mark.parametrize("name", ["CPM", "entropy"])
def test_all_that_leave_at_an_exit_tell_what_its_stored_outputs_are(
    cascade, description, images, independent, features, name
):
    rule = EXIT_RULES[name]
    ruled = Cascade(cascade.backbone, cascade.branches, cascade.thresholds, cascade.image_shape, rule)
    stored = [each.logits["test"] for each in independent] + [features["test"].logits]
    for exit_number, logits in enumerate(stored):
        found = Model(ruled, description).leaving_at(exit_number).answers(images)
        confidence, predicted = rule.outputs(logits[: len(images)])
        assert torch.equal(found.label, predicted)
        assert torch.allclose(found.confidence, confidence, atol=1e-4)


def test_every_engine_gives_the_same_answers(models, images, exported_segments):
    expected = models["published"].answers(images)
    engines = models["published"].engines(threads=1, exported=exported_segments[1])
    assert set(engines) == {EAGER, STAGES, ONE_MODEL}
    for name, run in engines.items():
        found = run(images)
        assert np.array_equal(found.label, expected.label), name
        assert np.array_equal(found.exit, expected.exit), name


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
