"""Training of the backbone: SGD with momentum, flips and crops, in any number of processes.

All randomness is drawn on the CPU, by every process alike, for the whole batch; a process then works
on its share. So batches, flips and crops are those of a single process, and the averaged gradient is
that of the whole batch. Only batch normalisation takes its statistics from a process's own share.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from btsee_lib.augmentation import Draws, augment, draw
from btsee_lib.backbone import new_backbone, predict_logits
from btsee_lib.compute import fits, new_fabric, set_up_torch, training_format
from btsee_lib.data.splits import Splits
from btsee_lib.disk import Checkpoint
from btsee_lib.errors import ParameterError, TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from btsee_lib.config import BackboneParameters

WATCHED = 2000


def new_trained_backbone(
    splits: Splits,
    parameters: "BackboneParameters",
    progress: Callable = iter,
    fabric: "Fabric | None" = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[nn.Module, pd.DataFrame]:
    """Build a backbone from its seed and train it: the network, on the CPU, and its learning curve.

    See ``train_backbone``.
    """
    set_up_torch(parameters.seed)
    backbone = new_backbone(splits, parameters)
    history = train_backbone(backbone, splits, parameters, progress, fabric, checkpoint)
    return backbone.cpu(), history


def train_backbone(
    backbone: nn.Module,
    splits: Splits,
    parameters: "BackboneParameters",
    progress: Callable = iter,
    fabric: "Fabric | None" = None,
    checkpoint: Checkpoint | None = None,
) -> pd.DataFrame:
    """Train with SGD, Nesterov momentum and a learning rate that ends near zero.

    The first ``reduced_epochs`` see images scaled down to ``reduced_size`` pixels, which costs a
    fraction of the time and, on a fixed budget, buys more epochs.

    Parameters
    ----------
    backbone : trained in place, on the device of ``fabric``.
    progress : wraps the epochs, for example ``tqdm``.
    fabric : the engine; by default this process alone, in float32.
    checkpoint : written after each epoch; epochs that it holds already are not run again.

    Returns
    -------
    DataFrame
        One row an epoch: ``epoch, learning_rate, train_loss, valid_loss, valid_accuracy``.
        The validation figures are of the first ``WATCHED`` images, for the eye: nothing is chosen
        by them.

    Raises
    ------
    TrainingError
        If the loss is no finite number; nothing of that epoch is kept.
    """
    fabric = fabric or new_fabric()
    training = Training(backbone, splits, parameters, fabric)
    # Decided by the first process, so that all of them go on from the same epoch.
    state = fabric.broadcast(checkpoint.load() if checkpoint and fabric.is_global_zero else None)
    rows = training.restore(state) if state else []
    for epoch in progress(range(len(rows) + 1, parameters.epochs + 1)):
        learning_rate = training.optimizer.param_groups[0]["lr"]
        size = parameters.reduced_size if epoch <= parameters.reduced_epochs else None
        loss = training.run_epoch(size)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the backbone's loss is {loss} in epoch {epoch}: lower backbone.learning_rate in params.yaml, "
                f"which is {parameters.learning_rate}"
            )
        row = {"epoch": epoch, "learning_rate": learning_rate, "train_loss": loss}
        rows.append(row | _watch(backbone, splits))
        if checkpoint and fabric.is_global_zero:
            checkpoint.save(training.state(rows))
    return pd.DataFrame(rows)


class Training:
    """A training under way: network, optimizer, learning rate, random numbers, images, and the engine."""

    def __init__(self, backbone: nn.Module, splits: Splits, parameters: "BackboneParameters", fabric: "Fabric"):
        self.backbone, self.splits, self.parameters, self.fabric = backbone, splits, parameters, fabric
        self.generator = torch.Generator().manual_seed(parameters.seed)
        self.optimizer = torch.optim.SGD(
            backbone.parameters(),
            lr=parameters.learning_rate,
            momentum=parameters.momentum,
            weight_decay=parameters.weight_decay,
            nesterov=True,
        )
        steps = parameters.epochs * len(
            batch_sizes(len(splits.train), parameters.batch_size, fabric.world_size)
        )
        self.schedule = new_schedule(self.optimizer, parameters.learning_rate, steps)
        self.format = training_format(narrowest(backbone))
        backbone.to(memory_format=self.format)
        self.network, self.stepper = fabric.setup(backbone, self.optimizer)
        images = splits.train.images
        self.images = images.to(fabric.device) if fits(images.nbytes, fabric.device) else images

    def run_epoch(self, size: int | None) -> float:
        """Run one epoch, on images scaled to ``size`` pixels if given, and return the mean loss."""
        self.network.train()
        total = torch.zeros((), dtype=torch.float64, device=self.fabric.device)
        order = torch.randperm(len(self.images), generator=self.generator)
        sizes = batch_sizes(len(order), self.parameters.batch_size, self.fabric.world_size)
        for batch in order.split(sizes):
            total += self._step(batch, size)
        return float(self.fabric.all_reduce(total, reduce_op="sum")) / len(self.images)

    def _step(self, batch: Tensor, size: int | None) -> Tensor:
        """Learn from a batch of indices; return the sum of the losses of this process's share."""
        draws = draw(len(batch), self.parameters.crop_padding, self.generator)
        share = share_of_batch(len(batch), self.fabric.global_rank, self.fabric.world_size)
        images, labels = self._load(batch[share.positions], draws.of(share.positions))
        if size is not None:
            images = functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        logits = self.network(images.contiguous(memory_format=self.format))
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.parameters.label_smoothing)
        self.stepper.zero_grad()
        self.fabric.backward(loss * share.weight)
        self.stepper.step()
        self.schedule.step()
        return loss.detach().double() * len(share.positions)

    def _load(self, chosen: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return normalised, flipped and cropped images and their labels, on the device."""
        device = self.fabric.device
        images = self.images[chosen.to(self.images.device)].to(device)
        images = augment(images, draws, self.parameters.crop_padding)
        return self.splits.normalise(images), self.splits.train.labels[chosen].to(device)

    def state(self, rows: list[dict]) -> dict[str, Any]:
        """Return everything that the rest of the training follows from."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {"generator": self.generator.get_state(), "rows": rows}

    def restore(self, state: dict[str, Any]) -> list[dict]:
        """Go back to a state, and return the rows of the epochs that were run until then."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        return list(state["rows"])

    def _parts(self) -> dict[str, Any]:
        return {"backbone": self.backbone, "optimizer": self.optimizer, "schedule": self.schedule}


def batch_sizes(images: int, batch_size: int, processes: int) -> list[int]:
    """Cut ``images`` into batches, each of two images a process at least: batch normalisation needs them.

    A rest that is smaller joins the batch before it.

    Raises
    ------
    ParameterError
        If a whole batch, or the whole data set, is smaller than that.
    """
    fewest = 2 * processes
    if min(images, batch_size) < fewest:
        raise ParameterError(
            f"params.yaml: backbone.batch_size is {batch_size} for {images:,} training images: "
            f"{processes} processes need {fewest} of both at least"
        )
    whole, rest = divmod(images, batch_size)
    if rest >= fewest:
        return [batch_size] * whole + [rest]
    return [batch_size] * (whole - 1) + [batch_size + rest]


class Share(NamedTuple):
    """A process's part of a batch: its positions (n,), and the weight of their mean loss."""

    positions: Tensor
    weight: float


def share_of_batch(number: int, rank: int, processes: int) -> Share:
    """Divide a batch of ``number`` images among processes: every image falls to one of them.

    Shares differ by one image where the batch cannot be divided evenly. The weights make the average
    over processes the mean over the batch all the same.
    """
    positions = torch.arange(rank, number, processes)
    return Share(positions, len(positions) * processes / number)


def new_schedule(optimizer: torch.optim.Optimizer, highest: float, steps: int) -> OneCycleLR:
    """Return the learning rate by step: up to ``highest`` for a quarter of the steps, then down."""
    # Four steps in all would give the first phase the length zero, by which OneCycleLR divides.
    return OneCycleLR(optimizer, max_lr=highest, total_steps=max(steps, 5), pct_start=0.25)


def narrowest(network: nn.Module) -> int:
    """Return the fewest channels that a convolution of the network puts out."""
    return min(each.out_channels for each in network.modules() if isinstance(each, nn.Conv2d))


def _watch(backbone: nn.Module, splits: Splits) -> dict[str, float]:
    labels = splits.valid.labels[:WATCHED]
    logits = predict_logits(backbone, splits, splits.valid.images[:WATCHED])
    return {
        "valid_loss": float(functional.cross_entropy(logits, labels)),
        "valid_accuracy": float((logits.argmax(1) == labels).float().mean()),
    }
