"""A random part of the training images: what a scheme makes of fewer."""

from dataclasses import replace

import torch

from btsee_lib.features import Features

PARTS = (0.25, 0.5, 1.0)  # of the training images


def part_of_training(features: Features, part: float, seed: int) -> Features:
    """Keep a random part of the training images; with the same seed a smaller part lies in a larger one."""
    train = features["train"]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = order[: round(part * len(train))].sort().values
    squeezed = tuple(each[chosen] for each in train.squeezed)
    fewer = replace(train, squeezed=squeezed, logits=train.logits[chosen], labels=train.labels[chosen])
    return features | {"train": fewer}
