import copy
import json

import numpy as np
import onnx
import pytest
import torch
from small_networks import four_layers

from btsee_lib.backbone import BACKBONES
from btsee_lib.cascade import Cascade
from btsee_lib.deployment import onnx_export
from btsee_lib.deployment.cascade_file import new_cascade
from btsee_lib.deployment.onnx_export import OUTPUTS, SINGLE, export, segments
from btsee_lib.deployment.onnx_runner import OnnxCascade, OnnxStages
from btsee_lib.deployment.timed_models import forced_shares
from btsee_lib.exit_rules import EXIT_RULES

NUMBER = 300


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:NUMBER].numpy()


def other(cascade, thresholds):
    return Cascade(cascade.backbone, cascade.branches, thresholds, cascade.image_shape)


def assert_agree(found, cascade, description, images):
    expected = cascade.predict(description.normalise(torch.from_numpy(images)))
    assert np.array_equal(found.label, expected.label)
    assert np.array_equal(found.exit, expected.exit)
    assert found.confidence == pytest.approx(expected.confidence.numpy(), abs=1e-4)


def test_both_forms_pass_the_checker(exported):
    paths = sorted(path.name for path in exported.iterdir())
    assert paths == [SINGLE, "stage_1.onnx", "stage_2.onnx", "stage_3.onnx", "stage_4.onnx"]
    for name in paths:
        onnx.checker.check_model(onnx.load(exported / name), full_check=True)


@pytest.mark.parametrize("form", [OnnxCascade, OnnxStages])
def test_both_forms_decide_as_torch_does(exported, cascade, description, images, form):
    model = form(exported / SINGLE if form is OnnxCascade else exported)
    assert_agree(model.predict(images), cascade, description, images)


@pytest.mark.parametrize("closed", [(0, 2), (0, 1, 2)])
def test_a_closed_branch_is_not_in_the_model(tmp_path, description, images, closed, monkeypatch):
    monkeypatch.setitem(BACKBONES, "four layers", four_layers)  # quick to export
    described = description.model_copy(update={"backbone": "four layers"})
    torch.manual_seed(0)
    fresh = new_cascade(described)
    normalised = described.normalise(torch.from_numpy(images))
    thresholds = forced_shares(fresh, normalised, [0.2, 0.3, 0.2, 0.3], [False] * 3) - 1e-4
    thresholds[list(closed)] = torch.inf
    shut = other(fresh, thresholds)
    export(shut, described, tmp_path)
    names = [segment.name for segment in segments(shut, described)]
    assert len(names) == 4 - len(closed)
    assert sorted(path.stem for path in tmp_path.glob("stage_*.onnx")) == sorted(names)
    assert_agree(OnnxCascade(tmp_path / SINGLE).predict(images[:60]), shut, described, images[:60])
    assert_agree(OnnxStages(tmp_path).predict(images[:60]), shut, described, images[:60])


def test_the_single_model_holds_each_later_stage_inside_the_if_before_it(exported):
    graph, depth = onnx.load(exported / SINGLE).graph, 0
    assert [output.name for output in graph.output] == list(OUTPUTS)
    assert [value.name for value in graph.input] == ["image"]
    while inner := [node for node in graph.node if node.op_type == "If"]:
        (branching,) = inner
        sides = {attribute.name: attribute.g for attribute in branching.attribute}
        assert {node.op_type for node in sides["then_branch"].node} == {"Identity", "Constant"}
        graph, depth = sides["else_branch"], depth + 1
    assert depth == 3


def test_the_metadata_tell_what_a_user_has_to_know(exported, cascade, description):
    for path in exported.glob("*.onnx"):
        told = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
        assert told["classes"] == list(description.classes)
        assert told["mean"] == list(description.mean)
        assert told["margins"] == list(description.margins)
        assert told["measured"] == description.measured
        assert told["segments"] == 4
        kept = [[float("inf") if value is None else value for value in row] for row in told["thresholds"]]
        assert torch.equal(torch.tensor(kept), cascade.thresholds)


def test_no_path_of_this_machine_is_in_a_model(exported, repository):
    for path in exported.glob("*.onnx"):
        assert str(repository).encode() not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


@pytest.fixture(scope="module")
def second_export(cascade, description, tmp_path_factory):
    """What a second export of the cascade leaves for further ones, and its folder."""
    exported, folder = {}, tmp_path_factory.mktemp("second")
    export(cascade, description, folder, exported)
    return exported, folder


@pytest.fixture(scope="module")
def all_exported(second_export):
    return second_export[0]


def test_two_exports_are_byte_identical(exported, second_export):
    for path in exported.glob("*.onnx"):
        assert (second_export[1] / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("leaving", [0, 1, 2, 3])
def test_a_cascade_of_other_thresholds_needs_no_other_export(
    all_exported, tmp_path, cascade, description, images, leaving, monkeypatch
):
    monkeypatch.setattr(onnx_export, "_export_segment", None)
    thresholds = torch.full((3, 10), 2.0)
    thresholds[leaving:] = 0.0
    export(other(cascade, thresholds), description, tmp_path, all_exported)
    assert set(OnnxCascade(tmp_path / SINGLE).predict(images[:20]).exit) == {leaving}
    assert set(OnnxStages(tmp_path).predict(images[:20]).exit) == {leaving}
    assert torch.equal(torch.tensor(OnnxStages(tmp_path).metadata["thresholds"]), thresholds)


def test_a_cascade_of_other_weights_is_exported_anew(all_exported, tmp_path, cascade, description, images):
    branches = [copy.deepcopy(cascade.branches[0]), *cascade.branches[1:]]
    with torch.no_grad():
        branches[0].classifier.bias[7] += 100.0  # it says class 7 of everything
    changed = Cascade(cascade.backbone, branches, torch.zeros(3, 10))
    before = len(all_exported)
    export(changed, description, tmp_path, all_exported)
    assert len(all_exported) == before + 1
    assert set(OnnxCascade(tmp_path / SINGLE).predict(images[:20]).label) == {7}


def test_a_cascade_of_another_normalisation_is_exported_anew(
    all_exported, tmp_path, cascade, description, monkeypatch
):
    kept, anew = {name: model for (name, *_), model in all_exported.items()}, []

    def exported_before(segment, *_):
        anew.append(segment)
        return kept[segment.name]

    monkeypatch.setattr(onnx_export, "_export_segment", exported_before)
    before = len(all_exported)
    export(cascade, description.model_copy(update={"mean": (0.9,)}), tmp_path, all_exported)
    assert len(all_exported) > before
    assert anew[0].name == "stage_1"
    assert anew[0].description.mean == (0.9,)


def test_a_cascade_of_another_exit_rule_is_exported_anew(all_exported, tmp_path, cascade, description, images):
    thresholds = torch.full((3, 10), -0.5)
    under_entropy = Cascade(
        cascade.backbone, cascade.branches, thresholds, cascade.image_shape, EXIT_RULES["entropy"]
    )
    before = len(all_exported)
    export(under_entropy, description.model_copy(update={"rule": "entropy"}), tmp_path, all_exported)
    assert len(all_exported) == before + 4
    single, stages = OnnxCascade(tmp_path / SINGLE), OnnxStages(tmp_path)
    for model in (single, stages):
        assert_agree(model.predict(images[:60]), under_entropy, description, images[:60])
        assert model.metadata["rule"] == "entropy"
        assert torch.equal(torch.tensor(model.metadata["thresholds"]), thresholds)
    assert len(set(stages.predict(images[:60]).exit.tolist())) > 1, "nothing is decided by these thresholds"


def test_a_class_that_always_leaves_is_not_told_as_one_that_never_does(
    all_exported, tmp_path, cascade, description, images
):
    export(other(cascade, torch.full((3, 10), -torch.inf)), description, tmp_path, all_exported)
    model = OnnxCascade(tmp_path / SINGLE)
    assert model.metadata["thresholds"] == [[torch.finfo(torch.float32).min] * 10] * 3
    assert set(model.predict(images[:20]).exit) == {0}


def test_models_of_an_earlier_export_do_not_stay(all_exported, tmp_path, cascade, description):
    (tmp_path / "stage_1_2.onnx").touch()
    export(cascade, description, tmp_path, all_exported)
    assert sorted(path.stem for path in tmp_path.glob("stage_*")) == [f"stage_{n}" for n in (1, 2, 3, 4)]
