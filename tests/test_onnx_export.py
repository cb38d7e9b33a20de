import json

import numpy as np
import onnx
import pytest
import torch

from btsee_lib.cascade import Cascade
from btsee_lib.onnx_export import OUTPUTS, SINGLE, export, segments, with_thresholds
from btsee_lib.onnx_runner import OnnxCascade, OnnxStages

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
def test_a_closed_branch_is_not_in_the_model(tmp_path, cascade, description, images, closed):
    thresholds = cascade.thresholds.clone()
    thresholds[list(closed)] = torch.inf
    shut = other(cascade, thresholds)
    export(shut, description, tmp_path)
    names = [segment.name for segment in segments(shut, description)]
    assert len(names) == 4 - len(closed)
    assert sorted(path.stem for path in tmp_path.glob("stage_*.onnx")) == sorted(names)
    assert_agree(OnnxCascade(tmp_path / SINGLE).predict(images[:60]), shut, description, images[:60])
    assert_agree(OnnxStages(tmp_path).predict(images[:60]), shut, description, images[:60])


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


def test_two_exports_are_byte_identical(exported, tmp_path, cascade, description):
    export(cascade, description, tmp_path)
    for path in exported.glob("*.onnx"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("leaving", [0, 1, 2, 3])
def test_thresholds_can_be_exchanged_in_an_exported_model(exported, tmp_path, cascade, images, leaving):
    thresholds = torch.full((3, 10), 2.0)
    thresholds[leaving:] = 0.0
    for path in exported.glob("*.onnx"):
        with_thresholds(path, tmp_path / path.name, thresholds)
    assert set(OnnxCascade(tmp_path / SINGLE).predict(images[:20]).exit) == {leaving}
    assert set(OnnxStages(tmp_path).predict(images[:20]).exit) == {leaving}
    told = OnnxStages(tmp_path).metadata["thresholds"]
    assert torch.equal(torch.tensor(told), thresholds)
