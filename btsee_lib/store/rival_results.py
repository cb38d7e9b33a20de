"""Narrower networks, trained in the way of the backbone: an hour or more, so by hand, and kept in git."""

import pandas as pd
from tqdm import tqdm

from btsee_lib.backbone import predict_logits
from btsee_lib.config import params
from btsee_lib.cost import count_macs
from btsee_lib.data.splits import Splits
from btsee_lib.store.artefacts import kept
from btsee_lib.store.backbone_artefact import STATIC, ensure_narrower, recipe
from btsee_lib.store.measured import made_here
from btsee_lib.store.results import load_data
from btsee_lib.store.tables import write_whole
from btsee_lib.studies.rivals import packed

SHARES = (0.25, 0.5, 0.625, 0.75, 0.875)  # of the backbone's width
TABLE, COLUMNS = "rivals.csv", ["width", "macs", "accuracy", "made_from", "right"]


def measure_rivals() -> None:
    """Train narrower networks and write down what each says on test, unless that has been written down.

    The table is written anew after each network: an interrupted run goes on, also on another machine.
    """
    splits, path = load_data(), kept(TABLE)
    table = measured_rivals(splits)
    for width in (int(share * params("backbone").width) for share in SHARES):
        if width not in table["width"].tolist():
            row = pd.DataFrame([_measured(splits, width)])[COLUMNS]
            table = pd.concat([table, row] if len(table) else [row]).sort_values("width")
            write_whole(path, table.to_csv(index=False))
        accuracy = table.set_index("width").loc[width, "accuracy"]
        print(f"width {width}: {100 * accuracy:.2f} % right", flush=True)


def measured_rivals(splits: Splits) -> pd.DataFrame:
    """Read what ``measure_rivals`` wrote in this experiment: ``width, macs, accuracy, made_from, right``.

    Without rows where nothing has been measured, or by another recipe, or of other images.
    """
    return made_here(kept(TABLE), COLUMNS, splits)


def _measured(splits: Splits, width: int) -> dict:
    """Train a network of this width if need be, and run it over test."""
    name = STATIC if width == params("deployment").static_width else f"rivals/width_{width}"
    network = ensure_narrower(name, width, splits, tqdm)
    right = predict_logits(network, splits, splits.test.images).argmax(1) == splits.test.labels
    return {
        "width": width,
        "macs": count_macs(network, splits.normalise(splits.test.images[:1])),
        "accuracy": float(right.double().mean()),
        "made_from": recipe(splits),
        "right": packed(right.numpy()),
    }
