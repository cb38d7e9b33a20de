"""Backbones that are quick to train and to export, for what is the same on every backbone."""

from torch import nn


def four_layers(num_classes, in_channels, width, stem):
    """A network of four stages, a layer each."""
    last = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 4 * width, num_classes))
    stages = [halving(in_channels, width), halving(width, 2 * width), halving(2 * width, 4 * width), last]
    network = nn.Sequential(*stages)
    network.num_classes, network.stages, network.width = num_classes, stages, width
    return network


def halving(channels_in, channels_out):
    """A convolution that halves the side of a map."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1), nn.ReLU())
