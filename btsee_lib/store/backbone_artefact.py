"""The backbone as an artefact: what it is made from, how it is trained into its folder and read again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from btsee_lib import training
from btsee_lib.backbone import new_backbone
from btsee_lib.compute import launched, new_fabric
from btsee_lib.config import BackboneParameters, params
from btsee_lib.data.splits import Splits
from btsee_lib.disk import Checkpoint
from btsee_lib.errors import ParameterError
from btsee_lib.experiment import current_experiment
from btsee_lib.store import artefacts
from btsee_lib.store.launcher import run_together

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STATIC = "static_backbone"  # the narrower network that never stops early


def ensure_in_processes(name: str, expected: dict, make: Callable[[Path, "Fabric"], None]) -> Path:
    """``artefacts.ensure`` in as many processes as ``params.yaml`` says, which are started if need be."""
    compute = params("compute")
    if not launched():
        if artefacts.is_there(name, expected):
            return artefacts.folder_of(name)
        if compute.processes > 1:
            launch(compute.processes, "backbone")
            return artefacts.require(name, expected, "backbone")
    fabric = new_fabric(compute.precision, compute.processes)
    return artefacts.ensure_together(name, expected, lambda folder: make(folder, fabric), fabric)


def launch(processes: int, action: str) -> None:
    """Run ``btsee_lib.pipeline ACTION`` in several processes on this machine, one a GPU or CPU.

    On several machines that share the repository's folder, type the same on each:
    ``torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=FIRST:29500 -m
    btsee_lib.pipeline backbone``, with ``compute.processes: 8``.

    Raises
    ------
    ParameterError
        If there are fewer GPUs than processes.
    RuntimeError
        If a process failed; what it said is on stderr.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise ParameterError(
            f"params.yaml: compute.processes is {processes}, but this machine has {gpus} GPUs: lower it, "
            "or start torchrun on each of several machines (btsee_lib/store/backbone_artefact.py says how)"
        )
    command = [sys.executable, "-m", "btsee_lib.pipeline", action]
    if not run_together(command, processes, current_experiment().home):
        raise RuntimeError(f"'btsee_lib.pipeline {action}' failed in one of {processes} processes: see above")


def backbone_fingerprint(parameters: BackboneParameters, splits: Splits) -> dict:
    """Describe what a backbone of these parameters is made from."""
    # The images themselves stand for the code that read them: one more data set retrains nothing.
    sections = [params("data"), params("compute"), parameters]
    return artefacts.fingerprint(sections, training, splits=splits.digest)


def recipe(splits: Splits) -> str:
    """Digest of what this experiment's backbone is made from: its parameters, the images, the code."""
    return artefacts.digest_of_fingerprint(backbone_fingerprint(params("backbone"), splits))


def read_backbone(folder: Path, splits: Splits, parameters: BackboneParameters) -> nn.Module:
    """Read a backbone that lies in the folder of its artefact: frozen, in evaluation mode."""
    network = new_backbone(splits, parameters)
    network.load_state_dict(artefacts.load_tensors(folder / "backbone.pt"))
    return network.requires_grad_(False).eval()


def train_into(
    folder: Path,
    splits: Splits,
    parameters: BackboneParameters,
    progress: Callable,
    fabric: "Fabric",
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a backbone of these parameters and write it, and its history, into a folder."""
    network, history = training.new_trained_backbone(splits, parameters, progress, fabric, checkpoint)
    if fabric.is_global_zero:
        artefacts.save_tensors(folder / "backbone.pt", network.state_dict())
        history.to_csv(folder / "history.csv", index=False)


def ensure_narrower(name: str, width: int, splits: Splits, progress: Callable) -> nn.Module:
    """Train a network of another width in the way of the backbone, or load it, as the artefact of that name."""
    parameters = params("backbone").model_copy(update={"width": width})
    expected = backbone_fingerprint(parameters, splits)

    def make(folder: Path) -> None:
        train_into(folder, splits, parameters, progress, new_fabric(params("compute").precision))

    return read_backbone(artefacts.ensure(name, expected, make), splits, parameters)


def checkpoint_of(name: str, expected: dict) -> Checkpoint:
    """Return where the training of an artefact keeps its state: no out of DVC, which would delete it."""
    digest = artefacts.digest_of_fingerprint(expected)
    return Checkpoint(artefacts.folder_of("checkpoints") / f"{name}-{digest}.pt")
