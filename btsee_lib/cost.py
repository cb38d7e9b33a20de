"""What a sample costs, in multiply-accumulates (MACs), by the exit that it takes.

MACs are counted by PyTorch's own counter, never by hand. It sees convolutions and matrix products;
additions alone, such as those of pooling, are not multiply-accumulates and count nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of one call of ``module`` on ``inputs``."""
    training = module.training
    module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    module.train(training)
    return counter.get_total_flops() // 2  # the counter takes a multiply-accumulate for two


@dataclass(frozen=True)
class CostModel:
    """What one image costs: ``stages`` (B + 1 numbers) and ``branches`` (B numbers).

    In MACs, or in another unit that adds up, such as milliseconds.
    """

    stages: tuple[int, ...]
    branches: tuple[int, ...]

    @classmethod
    def measure(
        cls, backbone: nn.Module, branches: Sequence[nn.Module], image_shape: Sequence[int]
    ) -> "CostModel":
        """Count the stages of a backbone and its branches on one image (C, H, W)."""
        parameter = next(backbone.parameters())
        feature_map = torch.zeros(1, *image_shape, device=parameter.device)
        stages, taken = [], []
        with torch.no_grad():
            for number, stage in enumerate(backbone.stages):
                stages.append(count_macs(stage, feature_map))
                feature_map = stage.eval()(feature_map)
                if number < len(branches):
                    taken.append(count_macs(branches[number], branches[number].squeeze(feature_map)))
        return cls(tuple(stages), tuple(taken))

    @property
    def backbone(self) -> int:
        """The cost of the bare backbone."""
        return sum(self.stages)

    def by_exit(self, thresholds: Tensor) -> Tensor:
        """The cost of a sample by its exit: (B + 1,).

        A branch whose thresholds (B, K) are all inf lets nothing out; it is not run and costs nothing.
        """
        is_open = (thresholds < torch.inf).any(1).long()
        branches = torch.tensor(self.branches) * is_open
        spent = torch.tensor(self.stages).cumsum(0)
        spent[:-1] += branches.cumsum(0)
        spent[-1] += branches.sum()
        return spent

    def reduction(self, exits: Tensor, thresholds: Tensor) -> float:
        """1 - (mean cost of a sample, branches included) / (cost of the bare backbone)."""
        return 1 - float(self.by_exit(thresholds)[exits].double().mean()) / self.backbone
