"""The two results of notebook 10 that take long: a smaller static network, and the times.

Times belong to the machine that took them. They are kept with the fingerprint of the code, of the
cascade that was timed, and of the machine, and nothing depends on them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from btsee_lib.cascade import Cascade, Exits
from btsee_lib.compute import processor
from btsee_lib.config import params
from btsee_lib.cost import CostModel
from btsee_lib.data.splits import Splits
from btsee_lib.deployment import measurements
from btsee_lib.deployment.cascade_file import Description
from btsee_lib.deployment.timed_models import Model
from btsee_lib.evaluation import BTS_EE
from btsee_lib.experiment import current_experiment
from btsee_lib.features import Features
from btsee_lib.store import artefacts
from btsee_lib.store.backbone_artefact import STATIC, ensure_narrower
from btsee_lib.store.tables import read_tables

TABLES = ("latency", "throughput", "exit_times", "latency_by_exit", "machine")


def make_static_backbone(splits: Splits) -> nn.Module:
    """Train the narrower network that never stops early, in the way of the backbone, or load it."""
    return ensure_narrower(STATIC, params("deployment").static_width, splits, tqdm)


def describe(
    cascade: Cascade,
    exits: Exits,
    splits: Splits,
    features: Features,
    cost: CostModel,
    rule: str,
    margins: Sequence[float],
) -> Description:
    """Describe a cascade of this experiment, and what it reaches on the test images.

    Parameters
    ----------
    exits : its answers to all test images.
    rule : by its name in ``EXIT_RULES``; margins : its knobs, one a branch.
    """
    network, branches = params("backbone"), params("branches")
    measured = {
        "images": len(splits.test),
        "accuracy": float((exits.label == splits.test.labels).double().mean()),
        "backbone_accuracy": float((features["test"].predicted == splits.test.labels).double().mean()),
        "reduction": cost.reduction(exits.exit, cascade.thresholds),
        "backbone_macs": cost.backbone,
    }
    shares = torch.bincount(exits.exit, minlength=len(cost.stages)).double() / len(exits.exit)
    measured |= {f"exit{number}": float(share) for number, share in enumerate(shares, start=1)}
    return Description(
        data_set=params("data").name,
        classes=splits.classes,
        image_shape=splits.test.images.shape[1:],
        mean=splits.mean,
        std=splits.std,
        backbone=network.name,
        width=network.width,
        stem=network.stem,
        branch_channels=branches.channels,
        branch_kernel_size=branches.kernel_size,
        rule=rule,
        margins=margins,
        measured=measured,
    )


def make_timings(models: dict[str, Model], published: str, images: np.ndarray) -> dict[str, pd.DataFrame]:
    """Take all times (``measurements.measure``), or load those of this machine and just these models."""

    def make(folder: Path) -> None:
        for name, table in measured_here(models, published, images).items():
            table.to_csv(folder / f"{name}.csv", index=False)

    sections = [params("deployment"), models[published].description]
    inputs = [STATIC, f"cascades/{BTS_EE.training}_seed_{params('boosting').seeds[0]}"]
    here = {"machine": processor(), "onnxruntime": onnxruntime.__version__}
    made_from = artefacts.fingerprint(sections, measurements, inputs, **here)
    return read_tables(artefacts.ensure("timings", made_from, make))


def measured_here(models: dict[str, Model], published: str, images: np.ndarray) -> dict[str, pd.DataFrame]:
    """Take all times now, and note in ``machine`` (``name, value``) what they belong to; nothing is kept."""
    tables = measurements.measure(models, published, images, params("deployment"), tqdm)
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    machine = {"processor": processor(), "cores": os.cpu_count(), **versions, **_conditions()}
    return tables | {"machine": pd.DataFrame(list(machine.items()), columns=["name", "value"])}


def recorded_timings() -> dict[str, pd.DataFrame] | None:
    """The times that the pipeline published, of whatever machine; None if they are of other parameters."""
    found = read_tables(current_experiment().reports / "tables")
    if not set(TABLES) <= set(found):
        return None
    told = dict(zip(found["machine"]["name"], found["machine"]["value"], strict=True))
    is_current = _conditions().items() <= told.items()
    return {name: found[name] for name in TABLES} if is_current else None


def _conditions() -> dict[str, str]:
    """The parameters that decide what is timed, as they are written into a table."""
    section = {f"deployment.{name}": str(value) for name, value in params("deployment").model_dump().items()}
    return section | {"backbone.width": str(params("backbone").width)}
