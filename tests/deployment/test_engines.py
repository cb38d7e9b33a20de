import numpy as np
import pytest
import torch

from btsee_lib.deployment import engines
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES


@pytest.fixture(scope="module")
def images(splits):
    return splits.test.images[:120].numpy()


@pytest.fixture(scope="module")
def expected(cascade, description, images):
    return cascade.predict(description.normalise(torch.from_numpy(images)))


def test_every_engine_gives_the_same_answers(cascade, description, images, expected, exported_segments):
    segments = dict(exported_segments[1])
    runners = {EAGER: engines.eager(cascade, description)}
    runners |= engines.onnx_engines(cascade, description, 1, segments)
    assert set(runners) == {EAGER, STAGES, ONE_MODEL}
    for name, run in runners.items():
        found = run(images)
        assert np.array_equal(found.label, expected.label), name
        assert np.array_equal(found.exit, expected.exit), name
