import numpy as np
import pytest
import torch
from torch import nn

from btsee_lib.deployment import engines
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def expected(cascade, description, images):
    return cascade.predict(description.normalise(torch.from_numpy(images)))


def test_every_engine_gives_the_same_answers(cascade, description, images, expected):
    runners = {EAGER: engines.eager(cascade, description)} | engines.onnx_engines(
        cascade, description, threads=1
    )
    assert set(runners) == {EAGER, STAGES, ONE_MODEL}
    for name, run in runners.items():
        found = run(images)
        assert np.array_equal(found.label, expected.label), name
        assert np.array_equal(found.exit, expected.exit), name


def test_where_compiling_does_not_work_the_first_call_tells(cascade, description, images, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", broken)
    with pytest.raises(RuntimeError, match="no compiler"):
        engines.compiled(cascade, description)(images[:2])


def broken(*_, **__):
    raise RuntimeError("no compiler")


def test_compiled_code_decides_as_the_cascade_does(cascade, description, images, expected, monkeypatch):
    """With torch's tracing, guards and recompiling; to have a compiler make C++ of it would take a minute."""
    plainly = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda *a, **options: plainly(*a, **options, backend="eager"))
    torch._dynamo.utils.counters.clear()
    fast = engines.compiled(cascade, description)
    for size in (1, 7, 120):
        found = fast(images[:size])
        assert torch.equal(found.label, expected.label[:size])
        assert torch.equal(found.exit, expected.exit[:size])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 7, "not all parts were compiled"


def test_code_that_is_not_compiled_any_more_is_an_error(cascade, description, images, monkeypatch):
    plainly = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda *a, **options: plainly(*a, **options, backend="eager"))
    fast = engines.compiled(cascade, description)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        fast(images)
