"""The ways to run a cascade that are timed against each other, by name."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from btsee_lib.cascade import Cascade
from btsee_lib.deployment.cascade_file import Description
from btsee_lib.deployment.onnx_export import SINGLE, Exported, export
from btsee_lib.deployment.onnx_runner import OnnxCascade, OnnxStages
from btsee_lib.deployment.timing import ONE_MODEL, STAGES, Engine


def eager(cascade: Cascade, description: Description) -> Engine:
    """The cascade as it is."""

    def run(images: np.ndarray) -> object:
        return cascade.predict(description.normalise(torch.from_numpy(images)))

    return run


def onnx_engines(
    cascade: Cascade, description: Description, threads: int, exported: Exported | None = None
) -> dict[str, Engine]:
    """Both ONNX forms of a cascade.

    Parameters
    ----------
    exported : see ``onnx_export.export``.
    """
    with tempfile.TemporaryDirectory() as folder:  # a session holds all of its model
        export(cascade, description, Path(folder), exported)
        stages, single = OnnxStages(folder, threads), OnnxCascade(Path(folder) / SINGLE, threads)
    return {STAGES: stages.predict, ONE_MODEL: single.predict}
