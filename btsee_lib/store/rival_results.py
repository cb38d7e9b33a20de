"""Narrower networks, trained in the way of the backbone: an hour or more, so by hand, and kept in git."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from btsee_lib.backbone import predict_logits
from btsee_lib.config import params
from btsee_lib.cost import count_macs
from btsee_lib.data.splits import Splits
from btsee_lib.experiment import current_experiment
from btsee_lib.store.backbone_artefact import ensure_narrower, recipe
from btsee_lib.store.results import load_data
from btsee_lib.studies.rivals import packed

SHARES = (0.5, 0.625, 0.75, 0.875)  # of the backbone's width
COLUMNS = ["width", "macs", "accuracy", "made_from", "right"]


def measure_rivals() -> None:
    """Train narrower networks, or load those that are there, and write down what each says on test.

    The table is written anew after each network, narrowest first.
    """
    splits, rows = load_data(), []
    width = params("backbone").width
    for share in SHARES:
        rows.append(_measured(splits, int(share * width)))
        path = _table()
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows)[COLUMNS].to_csv(path, index=False)
        print(f"width {rows[-1]['width']}: {100 * rows[-1]['accuracy']:.2f} % right", flush=True)


def measured_rivals(splits: Splits) -> pd.DataFrame:
    """Read what ``measure_rivals`` wrote in this experiment: ``width, macs, accuracy, made_from, right``.

    Without rows where nothing has been measured, or by another recipe, or of other images.
    """
    path = _table()
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    found = pd.read_csv(path, dtype={"made_from": str, "right": str})
    return found[found["made_from"] == recipe(splits)]


def _table() -> Path:
    return current_experiment().reports / "measured" / "rivals.csv"


def _measured(splits: Splits, width: int) -> dict:
    """Train a network of this width if need be, and run it over test."""
    network = ensure_narrower(f"rivals/width_{width}", width, splits, tqdm)
    right = predict_logits(network, splits, splits.test.images).argmax(1) == splits.test.labels
    return {
        "width": width,
        "macs": count_macs(network, splits.normalise(splits.test.images[:1])),
        "accuracy": float(right.double().mean()),
        "made_from": recipe(splits),
        "right": packed(right.numpy()),
    }
