"""What is timed: cascades, bare networks in their form, untrained copies at another width, forced exits."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from btsee_lib.backbone import StagedResNet18
from btsee_lib.cascade import Cascade
from btsee_lib.cost import CostModel
from btsee_lib.deployment import engines
from btsee_lib.deployment.build import in_batches
from btsee_lib.deployment.cascade_file import Description, new_cascade

BACKBONE = "backbone"
NEVER = 2.0  # a threshold that no confidence reaches, of a branch that is run all the same
SAMPLE = 500  # images that tell which confidences an untrained branch has


class Model(NamedTuple):
    """A cascade, and what it needs to be run."""

    cascade: Cascade
    description: Description

    @property
    def cost(self) -> CostModel:
        """MACs of its stages and branches."""
        return CostModel.measure(self.cascade.backbone, self.cascade.branches, self.description.image_shape)

    def with_thresholds(self, thresholds: Tensor) -> "Model":
        """The same network with other thresholds (B, K)."""
        own = self.cascade
        return Model(
            Cascade(own.backbone, own.branches, thresholds, own.image_shape, own.rule), self.description
        )


def without_exits(network: StagedResNet18, description: Description) -> Model:
    """A bare network in the form of a cascade that lets nothing out early, to be run by the same engines."""
    described = description.model_copy(update={"width": network.width})
    closed = new_cascade(described)
    return Model(
        Cascade(network, closed.branches, closed.thresholds, described.image_shape, closed.rule), described
    )


def exits_of(model: Model, images: np.ndarray) -> Tensor:
    """The exit that each image takes, int64 (N,)."""
    run = engines.eager(*model)
    return in_batches(lambda part: run(part.numpy()), torch.from_numpy(images), SAMPLE).exit


def macs_of(model: Model, images: np.ndarray) -> np.ndarray:
    """MACs of each image, float64 (N,)."""
    return model.cost.by_exit(model.cascade.thresholds)[exits_of(model, images)].double().numpy()


def at_full_width(models: dict[str, Model], images: np.ndarray, width: int) -> dict[str, Model]:
    """Untrained copies of the models at another width, made to let the same shares of images out.

    Branches that are closed in a model are closed in its copy. Bare networks are copied once.
    """
    torch.manual_seed(0)
    described = models[BACKBONE].description.model_copy(update={"width": width})
    bare = Model(new_cascade(described), described)
    sample = described.normalise(torch.from_numpy(images[:SAMPLE]))
    copies = {BACKBONE: bare}
    for name, model in models.items():
        closed = model.cascade.closed
        if not all(closed):
            taken = torch.bincount(exits_of(model, images), minlength=len(closed) + 1)
            shares = (taken / len(images)).tolist()
            copies[name] = bare.with_thresholds(forced_shares(bare.cascade, sample, shares, closed))
    return copies


def leaving_at(exit_number: int, branches_run: int, branches: int, classes: int) -> Tensor:
    """Thresholds (B, K) under which every image leaves at one exit (0 .. B).

    Parameters
    ----------
    branches_run : so many branches, from the first, are run on the way; the others are closed.
    """
    thresholds = torch.full((branches, classes), torch.inf)
    thresholds[:branches_run] = NEVER
    thresholds[exit_number : exit_number + 1] = -torch.inf  # beyond the last branch there is nothing to set
    return thresholds


def forced_shares(cascade: Cascade, images: Tensor, shares: list[float], closed: list[bool]) -> Tensor:
    """Thresholds (B, K) under which given shares of the images leave at each exit.

    For networks that were never trained: their confidences mean nothing, but they order the images,
    so a threshold at the right quantile lets the right number out.

    Parameters
    ----------
    images : normalised, float (N, C, H, W).
    shares : B + 1 numbers that sum to 1.
    closed : B branches that are not run, whose share is 0.
    """
    remaining, feature_map, thresholds = 1.0, images, []
    with torch.inference_mode():
        for stage, branch, share, shut in zip(
            cascade.backbone.stages, cascade.branches, shares, closed, strict=False
        ):
            threshold = torch.inf if shut else NEVER
            if len(feature_map):
                feature_map = stage(feature_map)
                confidence = cascade.rule.confidence(branch(branch.squeeze(feature_map)))
                number = (
                    min(len(confidence), round(len(confidence) * share / remaining)) if remaining > 0 else 0
                )
                threshold = float(confidence.sort(descending=True).values[number - 1]) if number else threshold
                feature_map, remaining = feature_map[confidence < threshold], remaining - share
            thresholds.append(threshold)
    return torch.tensor(thresholds)[:, None].expand(-1, cascade.thresholds.shape[1]).clone()
