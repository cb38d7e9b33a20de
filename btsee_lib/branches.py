"""The lightweight branch: a coarse grid of a feature map through two small 1-D convolutions.

A branch reads what its ``squeeze`` leaves of a feature map and answers with logits (N, K). ``squeeze`` has
no parameters, so its result is stored once and all training starts from there.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from btsee_lib.compute import borrowed
from btsee_lib.errors import TrainingError
from btsee_lib.parallel import exactly

if TYPE_CHECKING:
    from btsee_lib.config import BranchParameters


Losses = Callable[..., Tensor]
CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")
CELLS = 8  # a side of the grid has no more


class Conv1dBranch(nn.Sequential):
    """A 1-D convolution along the rows of a grid, another along its columns, and a linear classifier.

    Both have stride 2, so that the classifier sees a grid of half the side. How the paper feeds its 1-D
    convolutions is not published: pairs of them that stand in for a convolution in two dimensions are those
    of Szegedy 2016 (arXiv 1512.00567).

    Parameters
    ----------
    in_channels : channels of the stage that the branch reads, C.
    num_classes : number of classes, K.
    channels : channels of both convolutions: the width of the branch.
    kernel_size : their kernel size, odd, 3 at least.

    The size of the grid is taken from the first input.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int = 48, kernel_size: int = 3):
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}: use an odd number from 3 on")
        # A kernel of one row is a 1-D convolution that goes along all rows at once.
        super().__init__(
            OrderedDict(
                along_rows=_convolution(in_channels, channels, (1, kernel_size)),
                along_columns=_convolution(channels, channels, (kernel_size, 1)),
                flatten=nn.Flatten(),
                classifier=nn.LazyLinear(num_classes),
            )
        )

    @staticmethod
    def squeeze(feature_map: Tensor) -> Tensor:
        """Average a square map over square cells, at most 8 a side and at least 2 x 2 values each.

        Parameters
        ----------
        feature_map : float (N, C, H, W) with H = W.

        Returns
        -------
        Tensor
            (N, C, G, G). A last cell that reaches over the edge averages what there is.
        """
        if feature_map.ndim != 4 or feature_map.shape[2] != feature_map.shape[3]:
            shape = tuple(feature_map.shape)
            raise ValueError(f"a branch expects a map (N, C, H, W) with H = W, not {shape}")
        cell = max(2, -(-feature_map.shape[2] // CELLS))
        return functional.avg_pool2d(feature_map, cell, ceil_mode=True, count_include_pad=False)


def _convolution(channels_in: int, channels_out: int, kernel: tuple[int, int]) -> nn.Sequential:
    """A convolution of stride 2 along the one axis on which its kernel is long."""
    stride, padding = (tuple(2 if side > 1 else 1 for side in kernel)), tuple(side // 2 for side in kernel)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def new_branch(in_shape: Sequence[int], num_classes: int, channels: int, kernel_size: int) -> Conv1dBranch:
    """Return an untrained branch for squeezed maps of a shape (C, G, G), in evaluation mode."""
    branch = Conv1dBranch(in_shape[0], num_classes, channels, kernel_size).eval()
    branch(torch.zeros(1, *in_shape))  # the classifier takes its size from the first input
    return branch


def train_branch(
    branch: nn.Module,
    squeezed: Tensor,
    targets: Tensor,
    parameters: "BranchParameters",
    seed: int,
    weights: Tensor | None = None,
    losses: Losses = CROSS_ENTROPY,
    context: Sequence[Tensor] = (),
) -> None:
    """Train a branch in place on stored, squeezed maps.

    Parameters
    ----------
    squeezed : float32 or float16 (N, C, G, G), memory-mapped, of which only the batches are read; or on
        the compute device.
    targets : int64 (N,), the labels to learn.
    seed : decides the order of the samples.
    weights : float (N,), what each sample weighs in the loss, on the scale of their mean; a sample of
        weight zero is never visited. By default all weigh the same.
    losses : what the branch loses on each sample, (n,), for logits (n, K), targets (n,) and what the batch has
        of the context. The parameters of a module are learnt together with those of the branch.
    context : what else the losses read of each sample, (N, ...) each.

    The number of sample visits is ``epochs * N`` whatever the number of samples with a weight, so a branch
    on few survivors takes as many steps, and sees as many samples, as one on all. It runs in one thread, so
    that the weights do not depend on the number of cores.

    Raises
    ------
    ValueError
        If no sample weighs anything.
    TrainingError
        If the training ends with a loss that is no finite number.
    """
    weights = torch.ones(len(targets)) if weights is None else weights
    chosen = (weights > 0).nonzero().flatten()
    if len(chosen) == 0:
        raise ValueError("the weights of all training samples are 0: give a positive one to some of them")
    weights = weights / weights[chosen].mean()
    generator = torch.Generator().manual_seed(seed)
    steps = max(3, int(parameters.epochs * len(targets) / parameters.batch_size))
    learnt = nn.ModuleList(each for each in (branch, losses) if isinstance(each, nn.Module))
    optimizer = torch.optim.AdamW(
        learnt.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, parameters.learning_rate, total_steps=steps)
    learnt.train()
    with borrowed(learnt) as device, exactly(1):
        for batch in sample_batches(chosen, steps, parameters.batch_size, generator):
            logits = branch(_channels_last(squeezed[batch], device))
            read = [each[batch].to(device) for each in (targets, *context)]
            loss = (losses(logits, *read) * weights[batch].to(device)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    if not loss.isfinite():  # once it is not, it stays so
        raise TrainingError(
            f"a branch's loss is {loss.item()}: lower branches.learning_rate in params.yaml, "
            f"which is {parameters.learning_rate}"
        )
    learnt.eval()


def sample_batches(chosen: Tensor, steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return ``steps`` batches of indices (steps, batch_size): every sample once before any twice."""
    rounds = -(-steps * batch_size // len(chosen))
    order = torch.cat([chosen[torch.randperm(len(chosen), generator=generator)] for _ in range(rounds)])
    return order[: steps * batch_size].view(steps, batch_size)


def branch_logits(branch: nn.Module, squeezed: Tensor, batch_size: int = 5000) -> Tensor:
    """Return the logits (N, K), on the CPU, of a trained branch for squeezed maps (N, C, G, G).

    They are worked out in one thread, and so the same on any number of cores.
    """
    branch.eval()
    with borrowed(branch) as device, exactly(1), torch.inference_mode():
        batches = squeezed.split(batch_size)
        return torch.cat([branch(_channels_last(batch, device)).cpu() for batch in batches])


def _channels_last(squeezed: Tensor, device: torch.device) -> Tensor:
    """In this order of the numbers a convolution of few channels takes half of the time."""
    return squeezed.to(device).float().contiguous(memory_format=torch.channels_last)
