"""Shared by the tests of the solar cells."""

from pathlib import Path

import numpy as np
import pytest
import torch

from btsee_lib import compute
from btsee_lib.experiment import repository_root
from solar_cells.elpv import Cells

MODULES, CELLS_A_MODULE = 16, 30


@pytest.fixture(scope="session", autouse=True)
def one_deterministic_thread():
    compute.set_up_torch(0, max_threads=1)  # small batches gain nothing from a second one


@pytest.fixture(scope="session")
def repository():
    return repository_root(Path(__file__).parents[2])


@pytest.fixture(scope="session")
def cells():
    """Made-up cells of modules that differ in brightness; a defective one has a dark stripe."""
    random = np.random.default_rng(0)
    module = np.repeat(np.arange(MODULES), CELLS_A_MODULE)
    probability = random.choice([0, 1 / 3, 2 / 3, 1], len(module), p=[0.5, 0.15, 0.1, 0.25])
    images = random.normal(90 + 5 * module[:, None, None], 25, (len(module), 64, 64))
    for number in np.flatnonzero(probability > 0.5):
        start = random.integers(0, 48)
        images[number, :, start : start + 12] -= 60
    return Cells(
        images=torch.from_numpy(images.clip(0, 255).astype(np.uint8)).unsqueeze(1),
        probability=probability,
        type=np.where(module % 2, "mono", "poly"),
        module=module,
    )
