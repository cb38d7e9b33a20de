"""Backbone and branches trained together, from scratch.

All exits learn at once, on all images, each with the same share of the loss (BranchyNet, arXiv 1709.01686;
Shallow-Deep Networks, arXiv 1810.07052). The recipe is that of the backbone.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from btsee_lib.backbone import new_backbone
from btsee_lib.branches import new_branch
from btsee_lib.compute import borrowed, set_up_torch
from btsee_lib.data.splits import Splits
from btsee_lib.errors import TrainingError
from btsee_lib.features import walk_stages
from btsee_lib.training import Training

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from btsee_lib.config import BackboneParameters, BranchParameters


class JointNetwork(nn.Module):
    """A backbone and its branches as one network: all its exits while it learns, its last one afterwards."""

    def __init__(self, backbone: nn.Module, branches: Iterable[nn.Module], sides: Iterable[int]):
        super().__init__()
        self.backbone, self.branches, self.sides = backbone, nn.ModuleList(branches), tuple(sides)

    def exits(self, images: Tensor) -> Tensor:
        """Return the logits of all exits, (E, N, K), for normalised images (N, C, H, W)."""
        *stages, last = self.backbone.stages
        feature_map, logits = images, []
        for stage, branch, side in zip(stages, self.branches, self.sides, strict=True):
            feature_map = stage(feature_map)
            # Reduced images have smaller grids than the classifiers take; on whole ones this does nothing.
            logits.append(branch(functional.adaptive_avg_pool2d(branch.squeeze(feature_map), side)))
        return torch.stack([*logits, last(feature_map)])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (E * N, K), exit after exit, in training mode; else those of the last exit, (N, K)."""
        logits = self.exits(images)
        return logits.flatten(0, 1) if self.training else logits[-1]


def new_joint_network(
    splits: Splits, backbone_parameters: "BackboneParameters", branch_parameters: "BranchParameters"
) -> JointNetwork:
    """Build an untrained network with a branch behind each stage but the last."""
    set_up_torch(backbone_parameters.seed)
    backbone = new_backbone(splits, backbone_parameters).eval()
    with torch.no_grad():
        squeezed, _ = walk_stages(backbone, splits.normalise(splits.train.images[:1]))
    branches = [
        new_branch(grid.shape[1:], len(splits.classes), channels, branch_parameters.kernel_size)
        for grid, channels in zip(squeezed, branch_parameters.channels, strict=True)
    ]
    return JointNetwork(backbone, branches, (grid.shape[-1] for grid in squeezed))


class JointTraining(Training):
    """The backbone's training, whose loss is the mean over all exits."""

    def _load(self, *chosen: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = super()._load(*chosen)
        return images, labels.repeat(len(self.backbone.sides) + 1)


def train_jointly(
    network: JointNetwork,
    splits: Splits,
    parameters: "BackboneParameters",
    fabric: "Fabric",
    progress: Callable = iter,
) -> None:
    """Train in place by the recipe of the backbone.

    Raises
    ------
    TrainingError
        If the loss is no finite number.
    """
    training = JointTraining(network, splits, parameters, fabric)
    for epoch in progress(range(parameters.epochs)):
        loss = training.run_epoch(parameters.reduced_size if epoch < parameters.reduced_epochs else None)
        if not math.isfinite(loss):
            raise TrainingError(f"the joint loss is {loss} in epoch {epoch + 1}: lower backbone.learning_rate")
    network.cpu().eval()


def answers(network: JointNetwork, splits: Splits, batch_size: int = 500) -> dict[str, Tensor]:
    """What all exits answer on valid and test, (E, N, K) each."""
    with borrowed(network) as device, torch.inference_mode():
        return {
            name: torch.cat(
                [
                    network.exits(splits.normalise(batch.to(device))).cpu()
                    for batch in getattr(splits, name).images.split(batch_size)
                ],
                dim=1,
            )
            for name in ("valid", "test")
        }
