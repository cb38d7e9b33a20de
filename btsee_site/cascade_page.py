"""The published cascade in the browser: one page that runs its stages on images that are picked or drawn.

ONNX Runtime comes as WebAssembly from its npm package. Everything is in the page, compressed, since a page that
opens from disk may load nothing else.
"""

import base64
import gzip
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from btsee_lib.data import Splits
from btsee_lib.deployment.onnx_runner import OnnxStages
from btsee_lib.errors import DataError

HERE = Path(__file__).parent
RUNTIME = "onnxruntime-web@1.30.0"
PARTS = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
LOOKED_AT = 3000  # test images, among which those to pick from are found
OF_EACH = 8  # exit and kind, right or wrong


def fetch_runtime(folder: Path) -> list[Path]:
    """Fetch the parts of ONNX Runtime that a browser needs into a folder, unless they are there.

    Raises
    ------
    DataError
        If npm is not installed, or does not get them.
    """
    parts = [folder / name for name in PARTS]
    if all(part.is_file() for part in parts):
        return parts
    if shutil.which("npm") is None:
        raise DataError("npm is not installed, which fetches ONNX Runtime for the browser: install it")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        done = subprocess.run(["npm", "pack", "--silent", RUNTIME], cwd=place, capture_output=True, text=True)
        packed = list(Path(place).glob("*.tgz"))
        if done.returncode or not packed:
            raise DataError(f"npm does not get {RUNTIME}: {done.stderr.strip()[-200:] or 'try again'}")
        with tarfile.open(packed[0]) as archive:
            for part in parts:
                part.write_bytes(archive.extractfile(f"package/dist/{part.name}").read())
    return parts


def write_cascade_page(path: Path, model: Path, splits: Splits, costs: pd.DataFrame, parts: list[Path]) -> None:
    """Write the page.

    Parameters
    ----------
    model : a folder that ``onnx_export.export`` wrote.
    splits : of the images that the model was made for; some of test can be picked.
    costs : ``macs, branch_macs``, a row a stage (``plots.schematic.cascade_table``).
    parts : the files that ``fetch_runtime`` returns.
    """
    stages = OnnxStages(model)
    files = sorted(model.glob("stage_*.onnx"))
    described = {
        "classes": stages.metadata["classes"],
        "shape": stages.metadata["image_shape"],
        "segments": [
            {"name": file.stem, "exit": number, "spent": spent}
            for file, number, spent in zip(files, stages.exits, _spent(stages, costs), strict=True)
        ],
        "thresholds": stages.metadata["thresholds"],
        "pictures": _pictures(stages, splits),
    }
    contents = {
        "/*DESCRIBED*/": json.dumps(described).replace("<", "\\u003c"),
        "/*PARTS*/": json.dumps([_compressed(part) for part in (*parts, *files)]),
    }
    page = (HERE / "cascade_page.html").read_text()
    for place, content in contents.items():
        page = page.replace(place, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def _compressed(path: Path) -> str:
    return base64.b64encode(gzip.compress(path.read_bytes(), mtime=0)).decode()


def _spent(stages: OnnxStages, costs: pd.DataFrame) -> list[float]:
    """Share of the bare backbone's MACs that is spent by the time of each exit; closed branches do not run."""
    branches = [costs["branch_macs"][number] for number in stages.exits[:-1]]
    spent = costs["macs"].cumsum()[stages.exits].to_numpy() + np.cumsum([*branches, 0.0])
    return (spent / costs["macs"].sum()).tolist()


def _pictures(stages: OnnxStages, splits: Splits) -> list[dict]:
    """The first test images that leave at each exit, right and wrong, with their true class."""
    images, labels = (each[:LOOKED_AT].numpy() for each in (splits.test.images, splits.test.labels))
    found = stages.predict(images)
    chosen = []
    for number in stages.exits:
        for right in (True, False):
            here = (found.exit == number) & ((found.label == labels) == right)
            chosen += here.nonzero()[0][:OF_EACH].tolist()
    return [
        {"pixels": base64.b64encode(images[each].tobytes()).decode(), "label": int(labels[each])}
        for each in chosen
    ]
