import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from small_experiment import small_repository
from small_networks import four_layers

from btsee_lib import boosting, deployment
from btsee_lib.backbone import BACKBONES
from btsee_lib.deployment import onnx_export
from btsee_lib.errors import ArtefactError
from btsee_lib.exit_rules import EXIT_RULES
from btsee_lib.store import best_cascade, results

OFFERS = [  # training, rule, knob, max_drop, valid_reduction
    ("additive", "confidence", 0.5, 1.0, 0.9),  # its exits answer by more than their branch
    ("half distilled", "difference of two", 0.4, 1.0, 0.7),
    ("independent", "CPM", 0.0, 1.0, 0.6),
    ("independent", "entropy", -0.1, 2.0, 0.8),  # costs more than is asked for
    ("boosted", "entropy", -0.1, 1.0, np.nan),
]


@pytest.fixture(scope="module", autouse=True)
def quick_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "four layers", four_layers)
        yield


@pytest.fixture(scope="module")
def root(repository, tmp_path_factory):
    """A small repository of a backbone that is quick to export, in which schemes and rules were compared."""
    root = small_repository(tmp_path_factory.mktemp("best") / "small", repository)
    parameters = yaml.safe_load((root / "params.yaml").read_text())
    parameters["backbone"]["name"] = "four layers"
    (root / "params.yaml").write_text(yaml.safe_dump(parameters))
    folder = root / "reports/measured/other_ways/fashion-mnist"
    folder.mkdir(parents=True)
    names = ["training", "rule", "knob", "max_drop", "valid_reduction"]
    pd.DataFrame(OFFERS, columns=names).to_csv(folder / "offers.csv", index=False)
    return root


@pytest.fixture(scope="module")
def exported_segments(root):
    """Where the best cascade was exported to, and its segments by their names."""
    segments, export_segment = {}, onnx_export._export_segment

    def kept(segment, *arguments):
        segments[segment.name] = export_segment(segment, *arguments)
        return segments[segment.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(onnx_export, "_export_segment", kept)
        best_cascade.export_best()
    return root / "artifacts/best_cascade", segments


@pytest.fixture(scope="module")
def exported(exported_segments):
    """Where the best cascade was exported to."""
    return exported_segments[0]


@pytest.fixture
def exports_again(exported_segments, root, monkeypatch):
    """The repository is the working directory, and torch's part of an export, which takes seconds, is done."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(onnx_export, "_export_segment", lambda segment, *_: exported_segments[1][segment.name])


def test_what_saves_most_on_valid_for_the_allowed_drop_and_can_run_is_taken_away(exported):
    cascade, description = deployment.load_cascade(exported / "cascade.pt")
    assert (description.rule, description.margins) == ("difference of two", (0.4, 0.4, 0.4))
    assert cascade.rule is EXIT_RULES["difference of two"]
    assert "difference of two" in (exported / "README.md").read_text()


def test_it_answers_in_onnx_as_in_torch_and_reaches_what_it_says(exported, root, monkeypatch):
    monkeypatch.chdir(root)
    test = results.load_data().test
    cascade, description = deployment.load_cascade(exported / "cascade.pt")
    expected = cascade.predict(description.normalise(test.images))
    found = deployment.OnnxStages(exported).predict(test.images.numpy())
    assert np.array_equal(found.label, expected.label)
    assert np.array_equal(found.exit, expected.exit)
    accuracy = (expected.label == test.labels).double().mean()
    assert description.measured["accuracy"] == pytest.approx(float(accuracy))


def test_branches_that_are_there_are_not_trained_again(exports_again, monkeypatch):
    def trains(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(boosting, "fit_exit", trains)
    best_cascade.export_best()


def test_a_way_to_run_it_that_decides_otherwise_is_told(exported, exports_again, monkeypatch):
    predict = deployment.OnnxStages.predict

    def other(stages, images):
        answers = predict(stages, images)
        return answers._replace(label=(answers.label + 1) % 10)

    monkeypatch.setattr(deployment.OnnxStages, "predict", other)
    before = (exported / "cascade.onnx").read_bytes()
    with pytest.raises(ArtefactError, match="ONNX and the simulation decide differently on 300 test images"):
        best_cascade.export_best()
    assert (exported / "cascade.onnx").read_bytes() == before


@pytest.mark.parametrize("missing", ["all", "the drop"])
def test_where_nothing_is_known_it_says_what_to_run(root, monkeypatch, missing):
    monkeypatch.chdir(root)
    tables = {"offers": pd.read_csv(root / "reports/measured/other_ways/fashion-mnist/offers.csv")}
    if missing == "the drop":
        tables["offers"]["max_drop"] += 0.1
    found = {} if missing == "all" else {"fashion-mnist": tables}
    monkeypatch.setattr(best_cascade, "measured_comparison", lambda _: found)
    with pytest.raises(ArtefactError, match="at most on fashion-mnist: run 'make schemes' first"):
        best_cascade.best_that_runs()


def test_a_threshold_is_the_knob_of_each_branch(exported):
    cascade, _ = deployment.load_cascade(exported / "cascade.pt")
    assert torch.equal(cascade.thresholds, torch.full((3, 10), 0.4))
