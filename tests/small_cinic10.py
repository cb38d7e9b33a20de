"""A small stand-in for CINIC-10: Fashion-MNIST's images, coloured and 32 x 32, in CINIC-10's layout."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from btsee_lib.data import fashion_mnist
from btsee_lib.experiment import repository_root

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
SPLITS = ("train", "valid", "test")


def png(image, mode="RGB"):
    """Return a grey picture (28, 28) as the bytes of a PNG of 32 x 32, coloured unless the mode is grey."""
    grey = Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    if mode == "RGB":
        pixels = np.asarray(grey)
        grey = Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2], axis=2))
    content = io.BytesIO()
    grey.save(content, "PNG")
    return content.getvalue()


def files(images_a_class=9, mode="RGB"):
    """Return the pictures as {path in the archive: bytes}: all different, two of nine named as CIFAR's."""
    images, labels = fashion_mnist.read(repository_root(Path(__file__).parent) / "data/fashion-mnist", "train")
    found = {}
    for number, name in enumerate(CLASSES):
        members = np.flatnonzero(labels == number)[: 3 * images_a_class]
        for position, member in enumerate(members):
            split, within = SPLITS[position // images_a_class], position % images_a_class
            stem = (f"cifar10-train-{member}", f"cifar-10-test-{member}") + 7 * (f"n{member:08}_1",)
            found[f"{split}/{name}/{stem[within % 9]}.png"] = png(images[member], mode)
    return found


def write_archive(target, images_a_class=9, pictures=None):
    """Write the pictures as a .tar.gz, by class as the published one, and return its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for path, content in (files(images_a_class) if pictures is None else pictures).items():
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target


def write_folder(target, pictures):
    """Write the pictures as loose files below ``target`` and return it."""
    for path, content in pictures.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)
    return target
