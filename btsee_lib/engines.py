"""The ways to run a cascade that are timed against each other, by name."""

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from btsee_lib.cascade import Cascade
from btsee_lib.cascade_file import Description
from btsee_lib.onnx_export import SINGLE, export, with_thresholds
from btsee_lib.onnx_runner import OnnxCascade, OnnxStages
from btsee_lib.timing import Engine

EAGER, COMPILED, STAGES, ONE_MODEL = "PyTorch eager", "torch.compile", "ONNX stages", "ONNX single"


def eager(cascade: Cascade, description: Description) -> Engine:
    """The cascade as it is."""

    def run(images: np.ndarray) -> object:
        return cascade.predict(description.normalise(torch.from_numpy(images)))

    return run


def compiled(cascade: Cascade, description: Description) -> Engine:
    """Stages and branches through ``torch.compile``, for batches of any size; compiles at its first call.

    It fails then where ``torch.compile`` does not work, for example without a C++ compiler.
    """
    other = copy.deepcopy(cascade)
    torch._dynamo.config.recompile_limit = 64  # the blocks share their code, each takes one of these
    for module in (*other.backbone.stages, *other.branches):
        module.compile(dynamic=True)
    return eager(other, description)


def onnx_engines(cascade: Cascade, description: Description, folder: Path, threads: int) -> dict[str, Engine]:
    """Both ONNX forms of a cascade.

    Parameters
    ----------
    folder : for the models. Cascades of one network that have the same branches open are exported
        once and differ in their thresholds only, so one folder serves all cascades of a network.
    """
    source = folder / "".join("closed " if closed else "open " for closed in cascade.closed).strip()
    if not source.exists():
        export(cascade, description, source)
    target = Path(tempfile.mkdtemp(dir=folder))
    for path in source.glob("*.onnx"):
        with_thresholds(path, target / path.name, cascade.thresholds)
    return {
        STAGES: OnnxStages(target, threads).predict,
        ONE_MODEL: OnnxCascade(target / SINGLE, threads).predict,
    }


def always_leaving_at(exit_number: int, branches: int, classes: int) -> Tensor:
    """Thresholds (B, K) under which every image leaves at one exit, all branches being open."""
    thresholds = torch.full((branches, classes), 2.0)  # no confidence reaches it, and the branch is run
    thresholds[exit_number:] = 0.0  # beyond the last branch there is nothing to set
    return thresholds


def forced_shares(cascade: Cascade, images: Tensor, shares: list[float]) -> Tensor:
    """Thresholds (B, K) under which given shares of the images leave at each exit.

    For networks that were never trained: their confidences mean nothing, but they order the images,
    so a threshold at the right quantile lets the right number out.

    Parameters
    ----------
    images : normalised, float (N, C, H, W).
    shares : B + 1 numbers that sum to 1.
    """
    remaining, feature_map, thresholds = 1.0, images, []
    with torch.inference_mode():
        for stage, branch, share in zip(cascade.backbone.stages, cascade.branches, shares, strict=False):
            if len(feature_map) == 0:
                thresholds.append(2.0)  # nothing arrives here, nothing is let out
                continue
            feature_map = stage(feature_map)
            confidence = branch(branch.squeeze(feature_map)).softmax(1).amax(1)
            number = min(len(confidence), round(len(confidence) * share / remaining)) if remaining > 0 else 0
            threshold = float(confidence.sort(descending=True).values[number - 1]) if number else 2.0
            thresholds.append(threshold)
            feature_map, remaining = feature_map[confidence < threshold], remaining - share
    return torch.tensor(thresholds)[:, None].expand(-1, cascade.thresholds.shape[1]).clone()
