"""What is timed: cascades, bare networks in their form, untrained copies at another width, forced exits."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from btsee_lib.backbone import StagedResNet18
from btsee_lib.cascade import Cascade, Exits
from btsee_lib.cost import CostModel
from btsee_lib.deployment.build import in_batches
from btsee_lib.deployment.cascade_file import Description, new_cascade
from btsee_lib.deployment.onnx_export import SINGLE, Exported, export
from btsee_lib.deployment.onnx_runner import OnnxCascade, OnnxStages
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES, Engine

BACKBONE = "backbone"
NEVER = 2.0  # a threshold that no confidence reaches, of a branch that is run all the same
SAMPLE = 500  # images that tell which confidences an untrained branch has


class Model(NamedTuple):
    """A cascade, and what it needs to be run on raw images, uint8 (N, C, H, W)."""

    cascade: Cascade
    description: Description

    @classmethod
    def without_exits(cls, network: StagedResNet18, description: Description) -> "Model":
        """Give a bare network the form of a cascade that lets nothing out early, for the same engines."""
        described = description.model_copy(update={"width": network.width})
        closed = new_cascade(described)
        form = Cascade(network, closed.branches, closed.thresholds, described.image_shape, closed.rule)
        return cls(form, described)

    def with_thresholds(self, thresholds: Tensor) -> "Model":
        """The same network with other thresholds (B, K)."""
        own = self.cascade
        changed = Cascade(own.backbone, own.branches, thresholds, own.image_shape, own.rule)
        return self._replace(cascade=changed)

    def leaving_at(self, exit_number: int, branches_run: int | None = None) -> "Model":
        """The same network with thresholds under which every image leaves at one exit (0 .. B).

        Parameters
        ----------
        branches_run : so many branches, from the first, are run on the way; by default all of them.
        """
        thresholds = torch.full_like(self.cascade.thresholds, torch.inf)
        thresholds[:branches_run] = NEVER
        thresholds[exit_number : exit_number + 1] = -torch.inf  # beyond the last branch there is nothing to set
        return self.with_thresholds(thresholds)

    @property
    def cost(self) -> CostModel:
        """MACs of its stages and branches."""
        return CostModel.measure(self.cascade.backbone, self.cascade.branches, self.description.image_shape)

    def predict(self, images: np.ndarray) -> Exits:
        """Run the cascade as it is, in one batch."""
        return self.cascade.predict(self.description.normalise(torch.from_numpy(images)))

    def answers(self, images: np.ndarray) -> Exits:
        """Label, exit and confidence of any number of images, (N,) each."""
        return in_batches(lambda part: self.predict(part.numpy()), torch.from_numpy(images), SAMPLE)

    def macs(self, images: np.ndarray) -> np.ndarray:
        """MACs of each image, float64 (N,)."""
        return self.cost.by_exit(self.cascade.thresholds)[self.answers(images).exit].double().numpy()

    def engines(self, threads: int, exported: Exported | None = None) -> dict[str, Engine]:
        """The ways to run the model that are timed, by name; ``exported`` as of ``onnx_export.export``."""
        with tempfile.TemporaryDirectory() as folder:  # a session holds all of its model
            export(*self, Path(folder), exported)
            stages, single = OnnxStages(folder, threads), OnnxCascade(Path(folder) / SINGLE, threads)
        return {EAGER: self.predict, STAGES: stages.predict, ONE_MODEL: single.predict}


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
        if name != BACKBONE and model.cascade.backbone is models[BACKBONE].cascade.backbone:
            taken = torch.bincount(model.answers(images).exit, minlength=len(closed) + 1)
            shares = (taken / len(images)).tolist()
            copies[name] = bare.with_thresholds(forced_shares(bare.cascade, sample, shares, closed))
    return copies


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
    feature_map, remaining = images, 1.0
    thresholds = torch.tensor([torch.inf if shut else NEVER for shut in closed])
    with torch.inference_mode():
        for b, (branch, share) in enumerate(zip(cascade.branches, shares, strict=False)):
            if len(feature_map) == 0:
                break
            feature_map = cascade.backbone.stages[b](feature_map)
            confidence = cascade.rule.confidence(branch(branch.squeeze(feature_map)))
            number = round(len(confidence) * share / remaining) if remaining > 0 else 0
            if number:
                thresholds[b] = confidence.sort(descending=True).values[:number][-1]
            feature_map, remaining = feature_map[confidence < thresholds[b]], remaining - share
    return thresholds[:, None].expand(-1, cascade.thresholds.shape[1]).clone()
