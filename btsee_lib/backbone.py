"""ResNet18 in four stages that can be walked one at a time.

The stages are what an early exit needs: branch b reads the output of stage b, and a sample that
leaves there never enters stage b + 1. Training, cost and both ways of stopping share this one
definition. The blocks are torchvision's (He 2016, arXiv 1512.03385).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from btsee_lib.compute import borrowed
from btsee_lib.data.splits import Splits

if TYPE_CHECKING:
    from btsee_lib.config import BackboneParameters

STAGE_OF = {"conv1": 0, "bn1": 0, "layer1": 0, "layer2": 1, "layer3": 2, "layer4": 3, "fc": 3}


class StagedResNet18(nn.Module):
    """ResNet18 as ``stages``, a list of four modules.

    Parameters
    ----------
    num_classes : number of classes, K.
    in_channels : channels of an image.
    width : channels of the first stage; 64 is the published network.
    stem : "imagenet" is torchvision's stem (7 x 7 convolution, stride 2, max pooling);
        "small" a 3 x 3 convolution of stride 1, for images of about 32 x 32.

    A state dict of torchvision's ``resnet18`` loads as it is into ``width=64, stem="imagenet"``.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 64, stem: str = "small"):
        super().__init__()
        self.num_classes, self.in_channels, self.width, self.stem = num_classes, in_channels, width, stem
        self.stages = nn.ModuleList(
            [
                nn.Sequential(OrderedDict(**_stem(in_channels, width, stem), layer1=_layer(width, width, 1))),
                nn.Sequential(OrderedDict(layer2=_layer(width, 2 * width, 2))),
                nn.Sequential(OrderedDict(layer3=_layer(2 * width, 4 * width, 2))),
                nn.Sequential(
                    OrderedDict(
                        layer4=_layer(4 * width, 8 * width, 2),
                        avgpool=nn.AdaptiveAvgPool2d(1),
                        flatten=nn.Flatten(),
                        fc=nn.Linear(8 * width, num_classes),
                    )
                ),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.register_load_state_dict_pre_hook(_rename_torchvision_keys)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) for normalised images float32 (N, C, H, W)."""
        for stage in self.stages:
            images = stage(images)
        return images


BACKBONES: dict[str, Callable[..., nn.Module]] = {"resnet18": StagedResNet18}
"""Constructors by name. Each takes ``num_classes, in_channels, width, stem`` and makes a module with
``num_classes`` and ``stages``, the last of which ends in logits: a branch stands behind each but the last."""


def new_backbone(splits: Splits, parameters: "BackboneParameters") -> nn.Module:
    """Build an untrained backbone for the images and classes of a data set."""
    return BACKBONES[parameters.name](
        num_classes=len(splits.classes),
        in_channels=splits.train.images.shape[1],
        width=parameters.width,
        stem=parameters.stem,
    )


def _stem(in_channels: int, width: int, stem: str) -> dict[str, nn.Module]:
    if stem == "small":
        return {
            "conv1": nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            "bn1": nn.BatchNorm2d(width),
            "relu": nn.ReLU(inplace=True),
        }
    if stem == "imagenet":
        return {
            "conv1": nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
            "bn1": nn.BatchNorm2d(width),
            "relu": nn.ReLU(inplace=True),
            "maxpool": nn.MaxPool2d(3, stride=2, padding=1),
        }
    raise ValueError(f"stem is {stem!r}: use 'small' or 'imagenet'")


def _layer(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    downsample = None
    if stride != 1:
        downsample = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
        )
    return nn.Sequential(
        BasicBlock(channels_in, channels_out, stride, downsample), BasicBlock(channels_out, channels_out)
    )


def _rename_torchvision_keys(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    """Turn torchvision's ``layer2.0.conv1.weight`` into ``stages.1.layer2.0.conv1.weight``."""
    for key in list(state):
        name = key.removeprefix(prefix)
        stage = STAGE_OF.get(name.split(".")[0])
        if stage is not None and key.startswith(prefix):
            state[f"{prefix}stages.{stage}.{name}"] = state.pop(key)


def predict_logits(network: nn.Module, splits: Splits, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return the logits (N, K), on the CPU, of a network for raw images uint8 (N, C, H, W)."""
    network.eval()
    with borrowed(network) as device, torch.inference_mode():
        batches = [
            network(splits.normalise(batch.to(device)).contiguous(memory_format=torch.channels_last)).cpu()
            for batch in images.split(batch_size)
        ]
    return torch.cat(batches)
