"""The backbone as an artefact: what it is made from, how it is trained into its folder and read again."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from btsee_lib import augmentation, training
from btsee_lib.store import artefacts
from btsee_lib import backbone as backbone_module
from btsee_lib.data import splits as splits_module
from btsee_lib.backbone import StagedResNet18
from btsee_lib.checkpoints import Checkpoint
from btsee_lib.compute import launch, launched, new_fabric
from btsee_lib.config import Backbone as BackboneParameters
from btsee_lib.config import params, set_up_torch
from btsee_lib.data.splits import Splits

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def ensure_in_processes(name: str, expected: dict, make: Callable[[Path, "Fabric"], None]) -> Path:
    """``artefacts.ensure`` in as many processes as ``params.yaml`` says, which are started if need be."""
    wanted = params("compute")
    if not launched():
        if artefacts.is_current(name, expected):
            return artefacts.folder_of(name)
        if wanted.processes > 1:
            launch(wanted.processes, "backbone")
            return artefacts.require(name, expected, "backbone")
    fabric = new_fabric(wanted)
    return artefacts.ensure_together(name, expected, lambda folder: make(folder, fabric), fabric)


def backbone_fingerprint(wanted: BackboneParameters, splits: Splits) -> dict:
    """Describe what a backbone of these parameters is made from."""
    # The images themselves stand for the code that read them: one more data set retrains nothing.
    sections = [params("data"), params("compute"), wanted]
    made_from = artefacts.fingerprint(sections, [splits_module, backbone_module, augmentation, training])
    return made_from | {"splits": splits.digest}


def new_backbone(splits: Splits, wanted: BackboneParameters) -> StagedResNet18:
    """Build an untrained backbone for the images and classes of a data set."""
    return StagedResNet18(
        num_classes=len(splits.classes),
        in_channels=splits.train.images.shape[1],
        width=wanted.width,
        stem=wanted.stem,
    )


def read_backbone(folder: Path, splits: Splits, wanted: BackboneParameters) -> StagedResNet18:
    """Read a backbone that lies in the folder of its artefact: frozen, in evaluation mode."""
    network = new_backbone(splits, wanted)
    network.load_state_dict(artefacts.load_tensors(folder / "backbone.pt"))
    return network.requires_grad_(False).eval()


def train_into(
    folder: Path,
    splits: Splits,
    wanted: BackboneParameters,
    progress: Callable,
    fabric: "Fabric",
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a backbone of these parameters and write it, and its history, into a folder."""
    set_up_torch(wanted.seed)
    network = new_backbone(splits, wanted)
    history = training.train_backbone(network, splits, wanted, progress, fabric, checkpoint)
    if fabric.is_global_zero:
        artefacts.save_tensors(folder / "backbone.pt", network.cpu().state_dict())
        history.to_csv(folder / "history.csv", index=False)


def checkpoint_of(name: str, expected: dict) -> Checkpoint:
    """Return where the training of an artefact keeps its state: no out of DVC, which would delete it."""
    return Checkpoint(
        artefacts.folder_of("checkpoints") / f"{name}-{artefacts.digest_of_fingerprint(expected)}.pt"
    )
