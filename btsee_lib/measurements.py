"""What notebook 06 measures and keeps: a smaller static network, and how long everything takes.

Times belong to the machine that measured them. They are kept with the fingerprint of the code and of
the cascade that was timed, and nothing depends on them.
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pandas as pd
import torch

from btsee_lib import artefacts, cascade, cascade_file, engines, onnx_export, onnx_runner, timing
from btsee_lib.backbone import StagedResNet18, train_backbone
from btsee_lib.cascade import Cascade
from btsee_lib.cascade_file import Description, new_cascade
from btsee_lib.config import Deployment, params, repository_root, set_up_torch
from btsee_lib.cost import CostModel
from btsee_lib.data import Splits
from btsee_lib.stored import backbone_fingerprint, new_backbone, read_backbone

BACKBONE = "backbone"
TABLES = ("latency", "throughput", "exit_times", "latency_by_exit", "compile", "energy", "machine")
IMAGES_AN_EXIT = 150  # in the histogram
REPEATS = 100  # images, to measure energy
COMPILED_FOR = 100  # single images, before compiled code is timed
SAMPLE = 500  # images that tell which confidences an untrained branch has


class Model(NamedTuple):
    """A cascade, and what it needs to be run."""

    cascade: Cascade
    description: Description


def make_static_backbone(splits: Splits, progress: Callable = iter) -> StagedResNet18:
    """Train the narrower network that never stops early, in the way of the backbone, or load it."""
    wanted = params("backbone").model_copy(update={"width": params("deployment").static_width})

    def make(folder: Path) -> None:
        device = set_up_torch(wanted.seed)
        network = new_backbone(splits, wanted).to(device)
        train_backbone(network, splits, wanted, progress)
        artefacts.save_tensors(folder / "backbone.pt", network.cpu().state_dict())

    folder = artefacts.ensure("static_backbone", backbone_fingerprint(wanted), make)
    return read_backbone(folder, splits, wanted)


def without_exits(network: StagedResNet18, description: Description) -> Model:
    """A bare network in the form of a cascade that lets nothing out early, to be run by the same engines."""
    described = description.model_copy(update={"width": network.width})
    closed = new_cascade(described)
    return Model(Cascade(network, closed.branches, closed.thresholds, described.image_shape), described)


def make_timings(
    models: dict[str, Model], published: str, images: np.ndarray, progress: Callable = iter
) -> dict[str, pd.DataFrame]:
    """Time all models, and copies of them at full width, or load the times if they were just so taken.

    Parameters
    ----------
    models : by name; the one called "backbone" is what the others are measured by.
    published : the name of the cascade that is looked at image by image.
    images : raw, uint8 (N, C, H, W).

    Returns
    -------
    dict of DataFrame
        ``latency`` and ``throughput``: ``width, engine, model``, the number of images, the times, and
        mean MACs and mean time on these images over those of the backbone alone. ``exit_times``:
        ``width, exit, milliseconds, macs`` of an image that leaves there, exit "backbone" being the
        backbone alone. ``latency_by_exit``: ``exit, milliseconds`` of single images. ``compile``:
        ``works, seconds, reason``. ``energy``: ``engine, millijoules`` an image, empty where the machine
        does not tell. ``machine``: ``name, value``.
    """
    wanted = params("deployment")

    def make(folder: Path) -> None:
        set_up_torch(0, max_threads=wanted.threads)
        for name, table in measure(models, published, images, wanted, progress).items():
            table.to_csv(folder / f"{name}.csv", index=False)

    made_from = artefacts.fingerprint(
        [wanted, models[published].description],
        [cascade, cascade_file, engines, onnx_export, onnx_runner, timing, sys.modules[__name__]],
        ["static_backbone", f"cascades/seed_{params('boosting').seeds[0]}"],
    )
    return _read(artefacts.ensure("timings", made_from, make))


def recorded_timings() -> dict[str, pd.DataFrame] | None:
    """The times that the pipeline published, whatever machine took them; None if there are none."""
    tables = _read(repository_root() / "reports" / "tables")
    return {name: tables[name] for name in TABLES} if set(TABLES) <= set(tables) else None


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}


def machine_table(threads: int) -> pd.DataFrame:
    """What the times belong to: ``name, value``."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    values = {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "threads used": threads,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    return pd.DataFrame(list(values.items()), columns=["name", "value"])


def measure(
    models: dict[str, Model], published: str, images: np.ndarray, wanted: Deployment, progress: Callable = iter
) -> dict[str, pd.DataFrame]:
    """Do what ``make_timings`` returns."""
    networks = {"trained": models, "full width": at_full_width(models, images, wanted.full_width)}
    tables: dict[str, list[pd.DataFrame]] = {"latency": [], "throughput": [], "exit_times": []}
    with tempfile.TemporaryDirectory() as scratch:
        for name, each in progress(list(networks.items())):
            runners = all_engines(each, Path(scratch) / name, wanted.threads)
            if name == "trained":
                one_by_one = runners[engines.ONE_MODEL, published]
                by_exit = latency_by_exit(one_by_one, images)
                energy = energy_table(_flat(runners), images)
                fast, compiles = try_compile(each, published, images, wanted)
                runners |= fast
            width = each[BACKBONE].description.width
            for kind, measured in (
                ("latency", latency_table(runners, images, wanted)),
                ("throughput", throughput_table(runners, images, wanted)),
            ):
                tables[kind].append(with_macs(measured, each, images).assign(width=width))
            tables["exit_times"].append(exit_times(each, published, Path(scratch) / name, images, wanted))
    joined = {kind: pd.concat(parts, ignore_index=True) for kind, parts in tables.items()}
    machine = machine_table(wanted.threads)
    return joined | {"latency_by_exit": by_exit, "energy": energy, "compile": compiles, "machine": machine}


def at_full_width(models: dict[str, Model], images: np.ndarray, width: int) -> dict[str, Model]:
    """Untrained copies of the models at another width, made to let the same shares of images out."""
    torch.manual_seed(0)
    trained = models[BACKBONE].description
    described = trained.model_copy(update={"width": width})
    network = new_cascade(described)
    sample = described.normalise(torch.from_numpy(images[:SAMPLE]))
    copies = {BACKBONE: Model(network, described)}
    for name, model in models.items():
        if not all(model.cascade.closed):
            thresholds = engines.forced_shares(network, sample, exit_shares(model, images))
            copies[name] = Model(
                Cascade(network.backbone, network.branches, thresholds, described.image_shape), described
            )
    return copies


def exit_shares(model: Model, images: np.ndarray) -> list[float]:
    """Share of the images that leave at each exit, B + 1 numbers."""
    taken = exits_of(model, images)
    return (torch.bincount(taken, minlength=len(model.cascade.closed) + 1) / len(taken)).tolist()


def exits_of(model: Model, images: np.ndarray) -> torch.Tensor:
    """The exit that each image takes, int64 (N,)."""
    run = engines.eager(*model)
    return torch.cat([run(images[start : start + SAMPLE]).exit for start in range(0, len(images), SAMPLE)])


def with_macs(table: pd.DataFrame, models: dict[str, Model], images: np.ndarray) -> pd.DataFrame:
    """Add ``macs``: the mean MACs of a row's model, over the backbone's, on the first ``images`` of its row."""
    spent = {name: macs_of(model, images[: table["images"].max()]) for name, model in models.items()}
    ratios = [
        spent[row.model][: row.images].mean() / spent[BACKBONE][: row.images].mean()
        for row in table.itertuples()
    ]
    return table.assign(macs=ratios)


def macs_of(model: Model, images: np.ndarray) -> np.ndarray:
    """MACs of each image, float64 (N,)."""
    network, description = model
    cost = CostModel.measure(network.backbone, network.branches, description.image_shape)
    return cost.exit_macs(network.thresholds)[exits_of(model, images)].double().numpy()


def all_engines(models: dict[str, Model], folder: Path, threads: int) -> dict[tuple[str, str], timing.Engine]:
    """Every engine for every model, by the names of both."""
    runners = {}
    for name, (network, description) in models.items():
        runners[engines.EAGER, name] = engines.eager(network, description)
        own = folder / str(description.width)
        own.mkdir(parents=True, exist_ok=True)
        for engine, runner in engines.onnx_engines(network, description, own, threads).items():
            runners[engine, name] = runner
    return runners


def try_compile(
    models: dict[str, Model], published: str, images: np.ndarray, wanted: Deployment
) -> tuple[dict[tuple[str, str], timing.Engine], pd.DataFrame]:
    """Compile the backbone and the published cascade with torch.compile, or tell why it does not work."""
    if not wanted.compile:
        return {}, pd.DataFrame([{"works": False, "seconds": 0.0, "reason": "switched off in params.yaml"}])
    started, runners = time.perf_counter(), {}
    try:
        for name in (BACKBONE, published):
            runners[engines.COMPILED, name] = engines.compiled(*models[name])
            for size in wanted.batch_sizes:
                runners[engines.COMPILED, name](images[:size])
            for position in range(COMPILED_FOR):  # each exit's way is compiled when it is first taken
                runners[engines.COMPILED, name](images[position : position + 1])
    except Exception as problem:
        return {}, pd.DataFrame([{"works": False, "seconds": 0.0, "reason": str(problem).splitlines()[0]}])
    seconds = time.perf_counter() - started
    return runners, pd.DataFrame([{"works": True, "seconds": seconds, "reason": ""}])


def latency_table(
    runners: dict[tuple[str, str], timing.Engine], images: np.ndarray, wanted: Deployment
) -> pd.DataFrame:
    """Latency of single images: ``engine, model, images, mean, p50, p95, p99`` (ms) and ``time``."""
    tables = [timing.latencies(each, images[: wanted.latency_images]) for each in _taking_turns(runners)]
    table = _with_ratio(timing.summarise_latencies(pd.concat(tables)), "mean", [])
    return table.assign(images=min(wanted.latency_images, len(images)))


def throughput_table(
    runners: dict[tuple[str, str], timing.Engine], images: np.ndarray, wanted: Deployment
) -> pd.DataFrame:
    """Time an image in batches: ``timing.summarise_throughput`` with ``model, images`` and ``time``."""
    batched = {key: runner for key, runner in runners.items() if key[0] != engines.ONE_MODEL}
    tables = [
        timing.throughput(each, images, wanted.batch_sizes, wanted.rounds) for each in _taking_turns(batched)
    ]
    table = _with_ratio(timing.summarise_throughput(pd.concat(tables)), "milliseconds", ["batch_size"])
    return table.assign(images=table["batch_size"].map(timing.images_timed))


def _taking_turns(runners: dict[tuple[str, str], timing.Engine]) -> list[dict[str, timing.Engine]]:
    """The models of one engine take turns: those of another would only empty the caches for them."""
    names = dict.fromkeys(engine for engine, _ in runners)
    return [_flat({key: runner for key, runner in runners.items() if key[0] == name}) for name in names]


def _flat(runners: dict[tuple[str, str], timing.Engine]) -> dict[str, timing.Engine]:
    return {"|".join(key): runner for key, runner in runners.items()}


def _with_ratio(table: pd.DataFrame, column: str, also_by: list[str]) -> pd.DataFrame:
    """Split the engine's name from the model's, and set the time over that of the backbone."""
    table[["engine", "model"]] = table["engine"].str.split("|", expand=True)
    keys = ["engine", *also_by]
    alone = table[table["model"] == BACKBONE].set_index(keys)[column]
    return table.assign(time=table[column].to_numpy() / table.set_index(keys).index.map(alone).to_numpy())


def exit_times(
    models: dict[str, Model], published: str, folder: Path, images: np.ndarray, wanted: Deployment
) -> pd.DataFrame:
    """Median time of an image by its exit, in the single ONNX model, with all branches run on the way."""
    network, description = models[published]
    classes, branches = len(description.classes), len(network.branches)
    cost = CostModel.measure(network.backbone, network.branches, description.image_shape)
    runners, macs = {}, {}
    for number in range(branches + 1):
        thresholds = engines.always_leaving_at(number, branches, classes)
        leaving = Cascade(network.backbone, network.branches, thresholds, description.image_shape)
        own = folder / str(description.width)
        runners[str(number + 1)] = engines.onnx_engines(leaving, description, own, wanted.threads)[
            engines.ONE_MODEL
        ]
        macs[str(number + 1)] = int(cost.exit_macs(thresholds)[number])
    alone = models[BACKBONE]
    runners[BACKBONE] = engines.onnx_engines(*alone, folder / str(alone.description.width), wanted.threads)[
        engines.ONE_MODEL
    ]
    macs[BACKBONE] = cost.backbone
    table = timing.summarise_latencies(timing.latencies(runners, images[: wanted.latency_images]))
    found = table.rename(columns={"engine": "exit", "p50": "milliseconds"})[["exit", "milliseconds"]]
    return found.assign(macs=found["exit"].map(macs), width=description.width)


def latency_by_exit(runner: timing.Engine, images: np.ndarray) -> pd.DataFrame:
    """Latency of single images and the exit that they take: ``exit`` (1 .. B + 1) and ``milliseconds``."""
    taken = np.concatenate([runner(images[i : i + 1]).exit for i in range(len(images))])
    chosen = np.concatenate([np.flatnonzero(taken == e)[:IMAGES_AN_EXIT] for e in np.unique(taken)])
    chosen = np.random.default_rng(0).permutation(chosen)  # the exits take turns
    table = timing.latencies({"published": runner}, images[chosen])
    return pd.DataFrame({"exit": taken[chosen] + 1, "milliseconds": table["milliseconds"]})


def energy_table(runners: dict[str, timing.Engine], images: np.ndarray) -> pd.DataFrame:
    """Millijoules an image: ``engine, millijoules``; no rows where the machine does not tell."""
    used = timing.energy_an_image(runners, images[:REPEATS]) or {}
    return pd.DataFrame(list(used.items()), columns=["engine", "millijoules"])
