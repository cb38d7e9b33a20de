"""The two results of notebook 06 that take long: a smaller static network, and the times.

Times belong to the machine that took them. They are kept with the fingerprint of the code, of the
cascade that was timed, and of the machine, and nothing depends on them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd

from btsee_lib import cascade
from btsee_lib.store import artefacts
from btsee_lib.deployment import cascade_file
from btsee_lib.deployment import engines
from btsee_lib.deployment import machine
from btsee_lib.deployment import measurements
from btsee_lib.deployment import onnx_export
from btsee_lib.deployment import onnx_runner
from btsee_lib.deployment import time_costs
from btsee_lib.deployment import timed_models
from btsee_lib.deployment import timing
from btsee_lib.backbone import StagedResNet18
from btsee_lib.store.backbone_artefact import backbone_fingerprint, read_backbone, train_into
from btsee_lib.compute import new_fabric
from btsee_lib.config import params, repository_root
from btsee_lib.data.splits import Splits
from btsee_lib.deployment.timed_models import Model


def make_static_backbone(splits: Splits, progress: Callable = iter) -> StagedResNet18:
    """Train the narrower network that never stops early, in the way of the backbone, or load it."""
    wanted = params("backbone").model_copy(update={"width": params("deployment").static_width})

    alone = params("compute").model_copy(update={"processes": 1})  # it is small

    def make(folder: Path) -> None:
        train_into(folder, splits, wanted, progress, new_fabric(alone))

    folder = artefacts.ensure("static_backbone", backbone_fingerprint(wanted, splits), make)
    return read_backbone(folder, splits, wanted)


def make_timings(
    models: dict[str, Model], published: str, images: np.ndarray, progress: Callable = iter
) -> dict[str, pd.DataFrame]:
    """Take all times (``measurements.measure``), or load those of this machine and just these models."""

    def make(folder: Path) -> None:
        for name, table in measured_here(models, published, images, progress).items():
            table.to_csv(folder / f"{name}.csv", index=False)

    modules = [cascade, cascade_file, engines, machine, measurements, onnx_export, onnx_runner]
    made_from = artefacts.fingerprint(
        [params("deployment"), models[published].description],
        [*modules, time_costs, timed_models, timing],
        ["static_backbone", f"cascades/seed_{params('boosting').seeds[0]}"],
    )
    made_from |= {"machine": machine.processor(), "onnxruntime": onnxruntime.__version__}
    return _read(artefacts.ensure("timings", made_from, make))


def measured_here(
    models: dict[str, Model], published: str, images: np.ndarray, progress: Callable = iter
) -> dict[str, pd.DataFrame]:
    """Take all times now, and note the parameters with them; nothing is kept."""
    tables = measurements.measure(models, published, images, params("deployment"), progress)
    noted = pd.DataFrame(list(_conditions().items()), columns=["name", "value"])
    return tables | {"machine": pd.concat([tables["machine"], noted], ignore_index=True)}


def recorded_timings() -> dict[str, pd.DataFrame] | None:
    """The times that the pipeline published, of whatever machine; None if they are of other parameters."""
    found = _read(repository_root() / "reports" / "tables")
    if not set(measurements.TABLES) <= set(found):
        return None
    told = dict(zip(found["machine"]["name"], found["machine"]["value"], strict=True))
    fits = all(told.get(name) == value for name, value in _conditions().items())
    return {name: found[name] for name in measurements.TABLES} if fits else None


def _conditions() -> dict[str, str]:
    """The parameters that decide what is timed, as they are written into a table."""
    section = {f"deployment.{name}": str(value) for name, value in params("deployment").model_dump().items()}
    return section | {"backbone.width": str(params("backbone").width)}


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
