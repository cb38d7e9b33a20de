"""Two experiments on pictures of one's own: of three classes and of thirty, one of them rare.

Between them every key of ``params.yaml`` has two values that are not the main experiment's, or all others
where it takes but two.
"""

from pathlib import Path

import numpy as np
from PIL import Image

MARGINS = {"three": [[-0.1, 0.01], [-0.3], [0.02, 0.0, -0.02]], "thirty": [[0.2], [0.1, 0.3], [0.0]]}
PICTURES = {"three": [60] * 3, "thirty": [40, 5, *[8] * 27, 20]}  # how many, a class
CHANGES = {
    "three": {  # once an image leaves, the branches behind are closed: they want all of 36
        "data": {"image_size": 24, "mirrors": [], "drop_test_duplicates": True, "seed": 3, "limit": 100},
        "compute": {"precision": "32-true", "processes": 2},
        "backbone": {
            "width": 11,
            "stem": "imagenet",
            "epochs": 1,
            "reduced_epochs": 0,
            "reduced_size": 12,
            "batch_size": 40,
            "learning_rate": 0.1,
            "momentum": 0.5,
            "weight_decay": 0.001,
            "label_smoothing": 0.1,
            "crop_padding": 2,
            "seed": 1,
        },
        "features": {"batch_size": 30, "dtype": "float16"},
        "branches": {
            "channels": [4, 5, 6],
            "kernel_size": 5,
            "labels": "backbone",
            "epochs": 1,
            "batch_size": 32,
            "learning_rate": 0.05,
            "weight_decay": 0.0,
        },
        "boosting": {
            "seeds": [1, 2],
            "margins": MARGINS["three"],
            "bar_ceiling": 2,
            "class_margins": [-0.1, 0.0, 0.1],
            "min_support": 2,
            "min_survivors": 36,
        },
        "evaluation": {"seed": 1, "resamples": 20, "confidence": 0.9, "max_drops": [3]},
        "deployment": {
            "max_drops": [3],
            "published_drop": 3,
            "threads": 2,
            "static_width": 10,
            "full_width": 9,
            "latency_images": 20,
            "batch_sizes": [2],
            "rounds": 1,
        },
    },
    "thirty": {
        "data": {"image_size": 20, "mirrors": ["http://example.org"], "seed": 4, "limit": 200},
        "compute": {"precision": "bf16-mixed", "processes": 3},
        "backbone": {
            "width": 10,
            "epochs": 2,
            "reduced_epochs": 2,
            "reduced_size": 16,
            "batch_size": 100,
            "learning_rate": 0.05,
            "momentum": 0.99,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "crop_padding": 1,
            "seed": 2,
        },
        "features": {"batch_size": 1000, "dtype": "float32"},
        "branches": {
            "channels": [3, 3, 3],
            "kernel_size": 7,
            "labels": "truth",
            "epochs": 2,
            "batch_size": 1000,
            "learning_rate": 0.01,
            "weight_decay": 0.1,
        },
        "boosting": {
            "seeds": [5],
            "margins": MARGINS["thirty"],
            "bar_ceiling": 0.5,
            "class_margins": [0.0, 0.05] * 15,
            "min_support": 1,
            "min_survivors": 5,
        },
        "evaluation": {"seed": 2, "resamples": 10, "confidence": 0.8, "max_drops": [0.1, 50]},
        "deployment": {
            "max_drops": [0.2, 40],
            "published_drop": 0.2,
            "threads": 3,
            "static_width": 9,
            "full_width": 12,
            "latency_images": 21,
            "batch_sizes": [1, 3],
            "rounds": 2,
        },
    },
}


def write_pictures(folder: Path, numbers: list[int], shape: tuple[int, ...]) -> None:
    """Write pictures of noise around one of its own for each class: of three channels, or grey."""
    random = np.random.default_rng(0)
    for number, count in enumerate(numbers):
        place = folder / f"{number:02d} kind"
        place.mkdir(parents=True)
        middle = random.integers(256, size=shape)
        for each in range(count):
            pixels = (middle + random.integers(256, size=shape)) // 2
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{each}.png")
