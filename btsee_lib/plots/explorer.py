"""The margin explorer: sliders over the stored confidences of one seed's branches.

``explorer.js`` decides the cascade in the browser, by the rule of ``calibration.cpm_thresholds`` and with the
same numbers: confidences travel as float32. ``MarginExplorer`` is the widget, ``write_page`` writes the page
that needs no kernel.
"""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image
from torch import Tensor

from btsee_lib.calibration import SURVIVORS, confidence_and_class
from btsee_lib.features import SplitFeatures
from btsee_lib.store.results import Results
from btsee_lib.trees import BranchTree

HERE = Path(__file__).parent
THUMBNAILS, COLUMNS, QUALITY = 600, 30, 60  # pictures of the first test images, in rows of so many


class MarginExplorer(anywidget.AnyWidget):
    """Sliders for the margins of one experiment, see ``experiment_numbers``; ``knobs`` follows them."""

    _esm = HERE / "explorer.js"
    _css = HERE / "explorer.css"
    experiment = traitlets.Dict().tag(sync=True)
    rule = traitlets.Unicode("CPM").tag(sync=True)
    calibration = traitlets.Unicode(SURVIVORS).tag(sync=True)
    knobs = traitlets.List(traitlets.Float()).tag(sync=True)


def experiment_numbers(
    name: str, title: str, results: Results, tree: BranchTree, margins: Sequence[float] | None = None
) -> dict:
    """Collect what the explorer needs of one experiment; it can be written as JSON.

    Parameters
    ----------
    name : a short one, which stands in the address of a page.
    tree : whose branches to show; of a sequential one those behind ``margins``, one a branch.
    """
    rows = tree.rows(margins or [0.0] * len(results.cost.branches))
    terms = results.terms
    return {
        "name": name,
        "title": title,
        "classes": list(results.splits.classes),
        "stages": list(results.cost.stages),
        "branches": list(results.cost.branches),
        "closed": tree.nodes["closed"].to_numpy()[rows].tolist(),
        "min_support": terms.min_support,
        "ceiling": terms.ceiling,
        "class_margins": terms.class_margins,
        **{split: _split(results.features[split], tree.logits[split][rows]) for split in ("valid", "test")},
        "thumbnails": _contact_sheet(np.asarray(results.splits.test.images[:THUMBNAILS])),
    }


def write_page(path: Path, experiments: Sequence[dict]) -> None:
    """Write a page that opens from disk: a browser refuses to load a module from there, so all is in it."""
    parts = {
        "/*CSS*/": (HERE / "explorer.css").read_text(),
        "/*JS*/": (HERE / "explorer.js").read_text(),
        "/*DATA*/": json.dumps(experiments).replace("<", "\\u003c"),
    }
    page = (HERE / "explorer.html").read_text()
    for place, content in parts.items():
        page = page.replace(place, content)
    path.parent.mkdir(exist_ok=True)
    path.write_text(page)


def read_page(path: Path) -> list[dict]:
    """Read the experiments of a page that ``write_page`` wrote; none where there is no page."""
    if not path.is_file():
        return []
    before, after = (HERE / "explorer.html").read_text().split("/*DATA*/")
    start, end = before[before.rindex("<script") :], after[: after.index(">") + 1]
    return json.loads(path.read_text().partition(start)[2].partition(end)[0])


def _split(split: SplitFeatures, logits: Tensor) -> dict:
    """Labels, and what the backbone and each branch (logits (B, N, K)) say."""
    branches = [
        {"confidence": _text(confidence.numpy().astype("<f4")), "predicted": _text(_bytes(predicted))}
        for confidence, predicted in zip(*confidence_and_class(logits), strict=True)
    ]
    labels, backbone = (_text(_bytes(each)) for each in (split.labels, split.predicted))
    return {"labels": labels, "backbone": backbone, "branches": branches}


def _bytes(numbers: Tensor) -> np.ndarray:
    return numbers.numpy().astype(np.uint8)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _contact_sheet(images: np.ndarray) -> dict:
    """Put images, uint8 (n, C, H, W), into one picture; those of one channel dark on white."""
    number, channels, height, width = images.shape
    rows = -(-number // COLUMNS)
    sheet = np.zeros((rows * COLUMNS, channels, height, width), np.uint8)
    sheet[:number] = 255 - images if channels == 1 else images
    sheet = sheet.reshape(rows, COLUMNS, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, COLUMNS * width, channels)
    written = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(written, "WEBP", quality=QUALITY)
    url = f"data:image/webp;base64,{_text(np.frombuffer(written.getvalue(), np.uint8))}"
    return {"number": number, "columns": COLUMNS, "rows": rows, "url": url}
