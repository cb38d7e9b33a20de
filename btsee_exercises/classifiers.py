"""Checks of notebooks 01 and 02: two classifiers as a pair, leaks, MACs, recall, and what exits save."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from btsee_exercises.cases import Case, check
from btsee_lib.calibration import class_precision
from btsee_lib.cost import CostModel, count_macs
from btsee_lib.data.duplicates import digest_of


def check_pair(function: Callable, clarity: Tensor, cheap: Tensor, strong: Tensor) -> None:
    """Check ``(clarity, cheap, strong, share)``: the clearest get the cheap answer, the rest the strong one.

    Parameters
    ----------
    clarity : float (N,); cheap, strong : int64 (N,), the answers of two classifiers.
    """
    clearest = clarity.argsort(descending=True)[: int(0.3 * len(clarity))]
    wanted = strong.clone()
    wanted[clearest] = cheap[clearest]

    def on_any(clarity: Tensor, *others: Tensor | float) -> Tensor:
        answers = function(clarity, *others)
        return answers if len(clarity.unique()) > 1 else answers.sort().values  # of equals any may leave

    case = Case("on test", (clarity, cheap, strong, 0.3), wanted, "here 3 in 10 leave")
    check(function, "pair", [case], on_any, torch.int64)


def check_leaks(function: Callable, first: Tensor, second: Tensor) -> None:
    """Check ``(first, second)``: the positions of images of the second set that stand in the first too.

    Parameters
    ----------
    first, second : uint8 (N, C, H, W); two copies are planted in the second.
    """
    planted = torch.cat([second, first[[1, 0]]])
    known = {digest_of(image) for image in first.numpy()}
    wanted = [position for position, image in enumerate(planted.numpy()) if digest_of(image) in known]
    check(function, "leaks", [Case("for planted copies", (first, planted), wanted, "they stand at the end")])


def check_conv_macs(function: Callable, network: nn.Module, side: int) -> None:
    """Check ``(channels_in, channels_out, kernel, stride, padding, side)`` for square convolutions.

    Parameters
    ----------
    network : its convolutions are counted, each on a map of ``side`` x ``side``.
    """
    cases = []
    for name, conv in network.named_modules():
        if isinstance(conv, nn.Conv2d):
            channels = conv.in_channels, conv.out_channels
            kind = conv.kernel_size[0], conv.stride[0], conv.padding[0], side
            wanted = count_macs(conv, torch.zeros(1, conv.in_channels, side, side))
            cases.append(Case(f"for {name}", (*channels, *kind), wanted, "that is what PyTorch counts"))
    check(function, "conv_macs", cases)


def check_recall(function: Callable, predicted: Tensor, labels: Tensor, num_classes: int) -> None:
    """Check ``(predicted, labels, num_classes)``: of the images of each class the share that is found.

    Parameters
    ----------
    predicted, labels : int64 (N,).
    """
    wanted = class_precision(labels, predicted, num_classes)  # each in the place of the other
    case = Case("on valid", (predicted, labels, num_classes), wanted, "that is its recall")
    check(function, "recall", [case])


def check_reduction(function: Callable, shares: Tensor, cost: CostModel) -> None:
    """Check ``(shares, stages, branches)``: the share of MACs that exits save, branches paid for.

    Parameters
    ----------
    shares : float (B + 1,), of the images that leave at each exit.
    """
    parts = torch.tensor(cost.stages), torch.tensor(cost.branches)
    spent = cost.by_exit(torch.zeros(len(cost.branches), 1)).double()
    wanted = 1 - float(shares.double() @ spent) / cost.backbone
    check(function, "reduction", [Case("for this network", (shares, *parts), wanted, "its branches cost too")])
