"""The cascade: a sample leaves at the first branch that is sure enough of it.

``simulate`` decides from stored confidences, without running anything. ``Cascade`` runs the network
and really stops: what has left a branch is not computed any further. Both give the same exits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from btsee_lib.calibration import CPM, ExitRule, leaves

RAW = 30  # a normalised pixel is that large only where all pixels are nearly equal
UNSET = "thresholds hold nan: use inf for a class that never leaves"


class Exits(NamedTuple):
    """For each sample (N,): its label, the exit it took (0 .. B, B is the backbone), its confidence."""

    label: Tensor
    exit: Tensor
    confidence: Tensor


def simulate(
    confidence: Tensor,
    predicted: Tensor,
    backbone_predicted: Tensor,
    thresholds: Tensor,
    backbone_confidence: Tensor | None = None,
) -> Exits:
    """Decide where samples leave, from what every branch says of every sample.

    Parameters
    ----------
    confidence, predicted : (B, N).
    backbone_predicted : int64 (N,).
    thresholds : (B, K); inf keeps a class in.
    backbone_confidence : (N,), reported for those that go to the end; nan without it.
    """
    check_thresholds(thresholds, len(confidence))
    if confidence.isnan().any():
        raise ValueError("confidences hold nan: the branches are damaged, train them again")
    if predicted.numel() and predicted.max() >= thresholds.shape[1]:
        raise ValueError(
            f"class {predicted.max()} is predicted, but thresholds are of {thresholds.shape[1]} classes"
        )
    label = backbone_predicted.clone()
    exit_taken = torch.full_like(label, len(confidence))
    if backbone_confidence is None:
        backbone_confidence = torch.full(label.shape, torch.nan)
    sure = backbone_confidence.clone()
    for b in reversed(range(len(confidence))):  # an earlier exit overrules a later one
        out = leaves(confidence[b], predicted[b], thresholds[b])
        label[out] = predicted[b][out]
        exit_taken[out] = b
        sure[out] = confidence[b][out].to(sure.dtype)
    return Exits(label, exit_taken, sure)


def check_thresholds(thresholds: Tensor, number: int, classes: int | None = None, values: bool = True) -> None:
    """Raise a ValueError unless thresholds are (``number``, ``classes``), none of them nan if ``values``."""
    is_dense = isinstance(thresholds, Tensor) and thresholds.layout == torch.strided
    shape = tuple(thresholds.shape) if is_dense else "no dense tensor"
    if not is_dense or len(shape) != 2 or shape != (number, classes or shape[1]):
        raise ValueError(f"thresholds are {shape}: expected ({number}, {classes or 'classes'})")
    if values and thresholds.isnan().any():
        raise ValueError(UNSET)


class Cascade(nn.Module):
    """A backbone with branches that stops as early as the thresholds allow, in evaluation mode.

    Parameters
    ----------
    backbone : has ``stages``, B + 1 modules, the last of which ends in logits, and ``num_classes``, K.
    branches : B modules with ``squeeze`` and ``forward``.
    thresholds : (B, K); a branch whose thresholds are all inf is closed and not run.
    image_shape : (C, H, W) that ``predict`` insists on; by default any that the network takes.
    rule : the exit rule that the thresholds are of; it says how sure an exit is.
    """

    def __init__(
        self,
        backbone: nn.Module,
        branches: Sequence[nn.Module],
        thresholds: Tensor,
        image_shape: Sequence[int] | None = None,
        rule: ExitRule = CPM,
    ):
        super().__init__()
        check_thresholds(thresholds, len(branches), backbone.num_classes)
        if len(branches) != len(backbone.stages) - 1:
            raise ValueError(
                f"{len(branches)} branches on {len(backbone.stages)} stages: one fewer is expected"
            )
        self.backbone = backbone
        self.branches = nn.ModuleList(branches)
        self.register_buffer("thresholds", thresholds.clone())
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.rule = rule
        self.eval()

    @property
    def closed(self) -> list[bool]:
        """Of each branch, whether it lets nothing out."""
        return (self.thresholds == torch.inf).all(1).tolist()

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Exits:
        """Classify normalised images, float (N, C, H, W); the order of results is that of the images.

        Raises
        ------
        ValueError
            If the images are of another type or shape, not normalised or not finite, or the answers no numbers.
        """
        closed = self._check(images)
        label = torch.empty(len(images), dtype=torch.int64, device=images.device)
        exit_taken, confidence = torch.empty_like(label), torch.empty(len(images), device=images.device)
        remaining, told = torch.arange(len(images), device=images.device), [confidence]
        feature_map = images
        for b, stage in enumerate(self.backbone.stages):
            if len(remaining) == 0:
                break
            feature_map = stage(feature_map)
            is_last = b == len(self.branches)
            if not is_last and closed[b]:
                continue
            logits = feature_map if is_last else self.branches[b](self.branches[b].squeeze(feature_map))
            sure, predicted = self.rule.outputs(logits.float())  # in bf16 under autocast
            told.append(sure)
            # Of those that go on, the next exit overwrites this.
            label[remaining], confidence[remaining], exit_taken[remaining] = predicted, sure, b
            if not is_last:
                # How many go on decides the next shapes, so the host waits for a GPU here.
                staying = leaves(sure, predicted, self.thresholds[b]).logical_not().nonzero().flatten()
                remaining, feature_map = remaining[staying], feature_map[staying]
        if not torch.cat(told).isfinite().all():  # nan leaves nowhere, and the next exit overwrites it
            raise ValueError("the answers are no numbers, the weights are damaged: load or train them again")
        return Exits(label, exit_taken, confidence)

    def _check(self, images: Tensor) -> list[bool]:
        """Refuse what gives no right answers, such as thresholds that were set later; tell who is closed."""
        check_thresholds(self.thresholds, len(self.branches), self.backbone.num_classes, values=False)
        if any(module.training for module in (self, *self.branches, *self.backbone.stages)):
            raise ValueError("the cascade is in training mode, and would answer otherwise: call eval() first")
        if not isinstance(images, Tensor):
            raise ValueError(f"images are of the type {type(images).__name__}: give a tensor, normalised")
        shape, kind = tuple(images.shape), self.thresholds.dtype
        if len(shape) != 4 or shape[1:] != (self.image_shape or shape[1:]) or images.dtype != kind:
            expected = f"{kind} (N, {', '.join(map(str, self.image_shape or 'CHW'))})".removeprefix("torch.")
            raise ValueError(f"images are {images.dtype} {shape}: expected normalised {expected}")
        if len(images) == 0:
            return []
        # All that the host must know of the values in one piece, since it waits for each.
        unset, closed = self.thresholds.isnan().any(), (self.thresholds == torch.inf).all(1)
        low, high, unset, *closed = torch.stack([*images.aminmax(), unset.to(kind), *closed.to(kind)]).tolist()
        if unset:
            raise ValueError(UNSET)
        if not (low > -torch.inf and high < torch.inf):  # nan is neither
            raise ValueError("images hold pixels that are not finite: leave them out")
        if max(-low, high) > RAW:
            raise ValueError(f"images hold pixels from {low:g} to {high:g}: expected normalised, not raw ones")
        return closed
