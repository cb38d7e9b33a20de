"""Grids of images and of feature maps: figures drawn from pixels, not from a table.

Every function takes tensors and returns a matplotlib figure. Images are uint8 (N, C, H, W); those
of one channel are drawn dark on white.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from btsee_lib.plots.panels import headline
from btsee_lib.plots.style import GREY, INK

DARK_ON_WHITE = "gray_r"
INTENSITY = "magma_r"  # for what is not an image: feature maps and grids


def first_of_each_class(labels: Tensor, num_classes: int, number: int) -> Tensor:
    """Positions of the first ``number`` images of each class, class after class: int64 (K * number,)."""
    return torch.cat([(labels == c).nonzero().flatten()[:number] for c in range(num_classes)])


def random_of_each_class(
    labels: Tensor, chosen: Tensor, classes: Sequence[int], number: int, seed: int = 0
) -> Tensor:
    """Positions of ``number`` chosen images, bool (N,), of each of some classes, at random: int64."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[chosen[order]]
    return torch.cat([order[labels[order] == c][:number] for c in classes])


def grid(images: Tensor, row_names: Sequence[str], title: str = "") -> Figure:
    """Draw images row after row, as many rows as there are names."""
    columns = len(images) // len(row_names)
    size = (0.72 * columns + 1.2, 0.72 * len(row_names) + (0.4 if title else 0))
    figure, axes = plt.subplots(len(row_names), columns, figsize=size, squeeze=False)
    _name_rows(axes, row_names)
    _fill(axes, images)
    headline(figure, title)
    return figure


def captioned(images: Tensor, captions: Sequence[str], columns: int = 5, title: str = "") -> Figure:
    """Draw images in rows of ``columns``, each with a caption under it."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    size = (1.45 * columns, (1.3 + 0.18 * lines) * rows + (0.4 if title else 0))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    _fill(axes, images)
    for axis, caption in zip(axes.flat, captions, strict=False):
        axis.set_xlabel(caption, fontsize=9, color=INK)
    headline(figure, title)
    return figure


def beside(left: Tensor, right: Tensor, names: tuple[str, str], row_names: Sequence[str]) -> Figure:
    """Draw two grids side by side, rows in common, for example the easiest and the hardest images."""
    rows = len(row_names)
    columns = len(left) // rows
    figure = plt.figure(figsize=(1.44 * columns + 1.8, 0.72 * rows + 0.8))
    for part, images, name in zip(figure.subfigures(1, 2, wspace=0.04), (left, right), names, strict=True):
        axes = part.subplots(rows, columns, squeeze=False)
        _fill(axes, images)
        if part is figure.subfigs[0]:
            _name_rows(axes, row_names)
        part.suptitle(name, fontsize=11)
    return figure


def walk(image: Tensor, feature_maps: Sequence[Tensor], channels: int = 4) -> Figure:
    """Draw an image (C, H, W) and the first channels of each feature map (C_b, H_b, W_b) after it."""
    columns = 1 + len(feature_maps)
    size = (1.5 * columns + 0.4, 1.3 * channels + 0.7)
    figure, axes = plt.subplots(channels, columns, figsize=size, squeeze=False)
    for axis in axes[1:, 0]:
        axis.set_axis_off()
    draw_image(axes[0, 0], image)
    axes[0, 0].set_title(f"image\n{image.shape[1]} x {image.shape[2]}", fontsize=10, loc="center")
    for number, (column, feature_map) in enumerate(zip(axes.T[1:], feature_maps, strict=True), start=1):
        size = " x ".join(str(length) for length in feature_map.shape)
        column[0].set_title(f"stage {number}\n{size}", fontsize=10, loc="center")
        for axis, channel in zip(column, feature_map, strict=False):
            axis.imshow(channel.float().cpu(), cmap=INTENSITY)
            _bare(axis)
    return figure


def coarse_grid(image: Tensor, channel: Tensor, grid: Tensor) -> Figure:
    """Draw an image (C, H, W), one channel (H, W) of a feature map, and the grid (G, G) that a branch reads."""
    figure, (left, centre, right) = plt.subplots(1, 3, figsize=(7.2, 2.7))
    colours = {"vmin": float(channel.min()), "vmax": float(channel.max()), "cmap": INTENSITY}
    draw_image(left, image)
    left.set_title("image", fontsize=10)
    for axis, each, name in ((centre, channel, "one channel"), (right, grid, "what a branch reads of it")):
        axis.imshow(each.float().cpu(), **colours)
        axis.set_title(f"{name}, {len(each)} x {len(each)}", fontsize=10)
        _bare(axis)
    return figure


def _name_rows(axes: np.ndarray, names: Sequence[str]) -> None:
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, color=INK)


def _fill(axes: np.ndarray, images: Tensor) -> None:
    """Draw an image into each of the axes, and nothing where there are more axes than images."""
    for axis, image in zip(axes.flat, images, strict=False):
        draw_image(axis, image)
    for axis in axes.flat[len(images) :]:
        axis.set_axis_off()


def draw_image(axis: Axes, image: Tensor) -> None:
    """Draw an image, uint8 (C, H, W), into axes of its own."""
    pixels = image.cpu()
    if len(pixels) == 1:
        axis.imshow(pixels[0], cmap=DARK_ON_WHITE, vmin=0, vmax=255)
    else:
        axis.imshow(pixels.permute(1, 2, 0))
    _bare(axis)


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=GREY, linewidth=0.4)
