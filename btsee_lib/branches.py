"""The lightweight branch: strips of a feature map through small 1-D convolutions.

A branch reads what its ``squeeze`` leaves of a feature map, (N, C, L), and answers with logits (N, K).
``squeeze`` has no parameters, so its result is stored once and all training starts from there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from btsee_lib.compute import borrowed

if TYPE_CHECKING:
    from btsee_lib.config import BranchParameters


Losses = Callable[[Tensor, Tensor], Tensor]
CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


class Conv1dBranch(nn.Module):
    """A 1-D convolution of stride 2, shared by both strips, and a linear classifier.

    Parameters
    ----------
    in_channels : channels of the stage that the branch reads, C.
    num_classes : number of classes, K.
    channels : channels of the convolution: the width of the branch.
    kernel_size : its kernel size, odd.

    The classifier sees every position of both strips. Their length is taken from the first input.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int = 48, kernel_size: int = 5):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}: use an odd number")
        self.convolution = nn.Sequential(
            nn.Conv1d(in_channels, channels, kernel_size, stride=2, padding=kernel_size // 2, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        )
        self.classifier = nn.LazyLinear(num_classes)

    @staticmethod
    def squeeze(feature_map: Tensor) -> Tensor:
        """Average a square map over its width and over its height, and lay the two strips end to end.

        Parameters
        ----------
        feature_map : float (N, C, H, W) with H = W.

        Returns
        -------
        Tensor
            (N, C, H + W): first a value for each row, then one for each column. After strip pooling
            (Hou 2020, arXiv 2003.13328); how the paper feeds its 1-D convolutions is not published.
        """
        if feature_map.ndim != 4 or feature_map.shape[2] != feature_map.shape[3]:
            shape = tuple(feature_map.shape)
            raise ValueError(f"strip pooling expects a map (N, C, H, W) with H = W, not {shape}")
        return torch.cat([feature_map.mean(3), feature_map.mean(2)], dim=2)

    def forward(self, squeezed: Tensor) -> Tensor:
        """Return logits (N, K) for strips (N, C, H + W)."""
        number, channels, length = squeezed.shape
        # Rows and columns become separate samples, so one set of filters serves both.
        strips = (
            squeezed.unflatten(2, (2, length // 2)).transpose(1, 2).reshape(2 * number, channels, length // 2)
        )
        return self.classifier(self.convolution(strips).reshape(number, -1))


def new_branch(squeezed: Tensor, num_classes: int, parameters: "BranchParameters", seed: int) -> Conv1dBranch:
    """Return an untrained branch for squeezed maps like these, (N, C, L), with the weights of a seed."""
    torch.manual_seed(seed)
    branch = Conv1dBranch(squeezed.shape[1], num_classes, parameters.channels, parameters.kernel_size).eval()
    branch(squeezed[:1].cpu().float())  # the classifier takes its size from the first input
    return branch


def train_branch(
    branch: nn.Module,
    squeezed: Tensor,
    targets: Tensor,
    parameters: "BranchParameters",
    seed: int,
    weights: Tensor | None = None,
    losses: Losses = CROSS_ENTROPY,
) -> None:
    """Train a branch in place on stored strips.

    Parameters
    ----------
    squeezed : float32 or float16 (N, C, L), memory-mapped, of which only the batches are read; or on
        the compute device.
    targets : int64 (N,), the labels to learn.
    seed : decides the order of the samples.
    weights : float (N,), what each sample weighs in the loss, on the scale of their mean; a sample of
        weight zero is never visited. By default all weigh the same.
    losses : what the branch loses on each sample, (n,), for logits (n, K) and targets (n,).

    The number of sample visits is ``epochs * N`` whatever the number of samples with a weight, so a branch
    on few survivors takes as many steps, and sees as many samples, as one on all.

    Raises
    ------
    ValueError
        If no sample weighs anything.
    """
    weights = torch.ones(len(targets)) if weights is None else weights
    chosen = (weights > 0).nonzero().flatten()
    if len(chosen) == 0:
        raise ValueError("the weights of all training samples are 0: give a positive one to some of them")
    weights = weights / weights[chosen].mean()
    generator = torch.Generator().manual_seed(seed)
    steps = max(3, int(parameters.epochs * len(targets) / parameters.batch_size))
    optimizer = torch.optim.AdamW(
        branch.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, parameters.learning_rate, total_steps=steps)
    branch.train()
    with borrowed(branch) as device:
        for batch in sample_batches(chosen, steps, parameters.batch_size, generator):
            logits = branch(squeezed[batch].to(device).float())
            loss = (losses(logits, targets[batch].to(device)) * weights[batch].to(device)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    branch.eval()


def sample_batches(chosen: Tensor, steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return ``steps`` batches of indices (steps, batch_size): every sample once before any twice."""
    rounds = -(-steps * batch_size // len(chosen))
    order = torch.cat([chosen[torch.randperm(len(chosen), generator=generator)] for _ in range(rounds)])
    return order[: steps * batch_size].view(steps, batch_size)


def branch_logits(branch: nn.Module, squeezed: Tensor, batch_size: int = 5000) -> Tensor:
    """Return the logits (N, K), on the CPU, of a trained branch for stored strips (N, C, L)."""
    branch.eval()
    with borrowed(branch) as device, torch.inference_mode():
        return torch.cat([branch(batch.to(device).float()).cpu() for batch in squeezed.split(batch_size)])
