import numpy as np
import pytest
import torch

from btsee_lib import engines
from btsee_lib.cascade import Cascade
from btsee_lib.cascade_file import new_cascade


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def expected(cascade, description, images):
    return cascade.predict(description.normalise(torch.from_numpy(images)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def onnx(cascade, description, folder):
    return engines.onnx_engines(cascade, description, folder, threads=1)


def test_every_engine_gives_the_same_answers(cascade, description, images, expected, onnx):
    runners = {engines.EAGER: engines.eager(cascade, description)} | onnx
    assert set(runners) == {engines.EAGER, engines.STAGES, engines.ONE_MODEL}
    for name, run in runners.items():
        found = run(images)
        assert np.array_equal(found.label, expected.label), name
        assert np.array_equal(found.exit, expected.exit), name


def test_cascades_that_differ_in_thresholds_are_exported_once(cascade, description, images, folder, onnx):
    (source,) = folder.glob("open*")
    written = {path.name: path.stat().st_mtime_ns for path in source.iterdir()}
    thresholds = engines.always_leaving_at(1, 3, 10)
    other = Cascade(cascade.backbone, cascade.branches, thresholds)
    found = engines.onnx_engines(other, description, folder, threads=1)[engines.STAGES](images)
    assert set(found.exit) == {1}
    assert {path.name: path.stat().st_mtime_ns for path in source.iterdir()} == written


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_all_leave_at_one_exit_and_the_branches_before_it_are_run(cascade, images, description, number):
    thresholds = engines.always_leaving_at(number, 3, 10)
    forced = Cascade(cascade.backbone, cascade.branches, thresholds)
    assert set(engines.eager(forced, description)(images).exit.tolist()) == {number}
    assert not any(forced.closed)


@pytest.mark.parametrize(
    "shares", [[0.5, 0.25, 0.15, 0.1], [0.9, 0.0, 0.0, 0.1], [0.0, 0.0, 0.5, 0.5], [1.0, 0, 0, 0]]
)
def test_an_untrained_cascade_is_made_to_let_given_shares_out(description, images, shares):
    torch.manual_seed(0)
    fresh = new_cascade(description)
    thresholds = engines.forced_shares(fresh, description.normalise(torch.from_numpy(images)), shares)
    forced = Cascade(fresh.backbone, fresh.branches, thresholds)
    taken = engines.eager(forced, description)(images).exit
    found = torch.bincount(taken, minlength=4) / len(taken)
    assert found.tolist() == pytest.approx(shares, abs=0.02)


def test_where_compiling_does_not_work_the_first_call_tells(cascade, description, images, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    with pytest.raises(RuntimeError, match="no compiler"):
        engines.compiled(cascade, description)(images[:2])


def broken(*_, **__):
    raise RuntimeError("no compiler")
