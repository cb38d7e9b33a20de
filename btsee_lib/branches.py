"""The lightweight branch: strips of a feature map through small 1-D convolutions.

A branch reads what ``squeeze`` leaves of a feature map, (N, C, L), and answers with logits (N, K).
``squeeze`` has no parameters, so its result is stored once and all training starts from there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from btsee_lib.compute import borrowed
from btsee_lib.config import Branches as BranchParameters
from btsee_lib.features import strip_pool


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

    def squeeze(self, feature_map: Tensor) -> Tensor:
        """Reduce a feature map (N, C, H, W) to what ``forward`` reads, (N, C, H + W)."""
        return strip_pool(feature_map)

    def forward(self, squeezed: Tensor) -> Tensor:
        """Return logits (N, K) for strips (N, C, H + W)."""
        number, channels, length = squeezed.shape
        # Rows and columns become separate samples, so one set of filters serves both.
        strips = (
            squeezed.unflatten(2, (2, length // 2)).transpose(1, 2).reshape(2 * number, channels, length // 2)
        )
        return self.classifier(self.convolution(strips).reshape(number, -1))


def train_branch(
    branch: Conv1dBranch,
    squeezed: Tensor,
    targets: Tensor,
    parameters: BranchParameters,
    seed: int,
    survivors: Tensor | None = None,
) -> None:
    """Train a branch in place on stored strips.

    Parameters
    ----------
    squeezed : float32 or float16 (N, C, L), memory-mapped, of which only the batches are read; or on
        the compute device.
    targets : int64 (N,), the labels to learn.
    seed : decides the order of the samples.
    survivors : bool (N,), the samples to train on; all of them by default.

    The number of sample visits is ``epochs * N`` whatever the number of survivors, so a branch on
    few survivors takes as many steps, and sees as many samples, as one on all.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.arange(len(targets)) if survivors is None else survivors.nonzero().flatten()
    steps = max(3, int(parameters.epochs * len(targets) / parameters.batch_size))
    optimizer = torch.optim.AdamW(
        branch.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, parameters.learning_rate, total_steps=steps)
    branch.train()
    with borrowed(branch) as device:
        for batch in sample_batches(chosen, steps, parameters.batch_size, generator):
            logits = branch(squeezed[batch].to(device).float())
            loss = functional.cross_entropy(logits, targets[batch].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def sample_batches(chosen: Tensor, steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return ``steps`` batches of indices (steps, batch_size): every sample once before any twice."""
    rounds = -(-steps * batch_size // len(chosen))
    order = torch.cat([chosen[torch.randperm(len(chosen), generator=generator)] for _ in range(rounds)])
    return order[: steps * batch_size].view(steps, batch_size)


def branch_logits(branch: Conv1dBranch, squeezed: Tensor, batch_size: int = 5000) -> Tensor:
    """Return the logits (N, K), on the CPU, of a trained branch for stored strips (N, C, L)."""
    branch.eval()
    with borrowed(branch) as device, torch.inference_mode():
        return torch.cat([branch(batch.to(device).float()).cpu() for batch in squeezed.split(batch_size)])
