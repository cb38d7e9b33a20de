"""What notebook 06 measures: single images, batches, exits and parts, as tables."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from btsee_lib.deployment import engines, timing
from btsee_lib.deployment.machine import machine_table
from btsee_lib.deployment.onnx_export import Exported
from btsee_lib.deployment.time_costs import parts
from btsee_lib.deployment.timed_models import BACKBONE, Model, at_full_width, exits_of, leaving_at, macs_of
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES, Engine
from btsee_lib.parallel import exactly

if TYPE_CHECKING:
    from btsee_lib.config import DeploymentParameters

Runners = dict[tuple[str, str], Engine]  # by the names of engine and model
TABLES = ("latency", "throughput", "exit_times", "latency_by_exit", "machine")
IMAGES_AN_EXIT = 150  # in the histogram
BATCH = 16  # images that share one reading of the weights, to time the stages in batches too


def measure(
    models: dict[str, Model],
    published: str,
    images: np.ndarray,
    parameters: "DeploymentParameters",
    progress: Callable = iter,
) -> dict[str, pd.DataFrame]:
    """Time all models, and copies of them at full width, with ``parameters.threads`` threads in every engine.

    Parameters
    ----------
    models : by name; the one called "backbone" is what the others are measured by.
    published : the name of the cascade that is looked at image by image.
    images : raw, uint8 (N, C, H, W).

    Returns
    -------
    dict of DataFrame
        ``latency`` and ``throughput``: see ``latency_table`` and ``throughput_table``, with
        ``macs_ratio``, the mean MACs on these images over the backbone's, and ``width``; ``latency``
        has ``predicted`` too, the mean that ``exit_times`` predicts for the single ONNX model.
        ``exit_times``, ``latency_by_exit``: see the functions of these names. ``machine``: ``name, value``.
    """
    tables: dict[str, list[pd.DataFrame]] = {"latency": [], "throughput": [], "exit_times": []}
    once: dict[str, pd.DataFrame] = {}
    with exactly(parameters.threads):
        copies = at_full_width(models, images, parameters.full_width)
        for each, asked in progress([(models, parameters), (copies, fewer(parameters))]):
            exported: Exported = {}
            width, runners = each[BACKBONE].description.width, all_engines(each, asked.threads, exported)
            if each is models:
                once["latency_by_exit"] = latency_by_exit(runners[ONE_MODEL, published], images)
                once["machine"] = machine_table(asked.threads)
            by_exit = exit_times(each[published], images, asked, exported)
            latency = latency_table(runners, images, asked)
            latency["predicted"] = predicted_latency(latency, by_exit, each, images, asked)
            tables["exit_times"].append(by_exit.assign(width=width))
            for kind, table, number in (
                ("latency", latency, asked.latency_images),
                ("throughput", throughput_table(runners, images, asked), max(asked.batch_sizes)),
            ):
                tables[kind].append(_with_macs(table, each, images[:number]).assign(width=width))
    return {kind: pd.concat(each, ignore_index=True) for kind, each in tables.items()} | once


def fewer(parameters: "DeploymentParameters") -> "DeploymentParameters":
    """Ask for fewer repetitions: networks at full width take ten times as long, and their times vary less."""
    images = max(timing.WARM_UP, parameters.latency_images // 5)
    return parameters.model_copy(update={"latency_images": images, "rounds": 1})


def all_engines(models: dict[str, Model], threads: int, exported: Exported) -> Runners:
    """Every engine for every model, by the names of both."""
    runners = {}
    for name, model in models.items():
        runners[EAGER, name] = engines.eager(*model)
        for engine, runner in engines.onnx_engines(*model, threads, exported).items():
            runners[engine, name] = runner
    return runners


def latency_table(runners: Runners, images: np.ndarray, parameters: "DeploymentParameters") -> pd.DataFrame:
    """Latency of single images: ``engine, model, mean, p50, p95`` (ms), and ``time_ratio`` of the means."""
    tables = [timing.latencies(each, images[: parameters.latency_images]) for each in _taking_turns(runners)]
    return _with_time_ratio(timing.summarise_latencies(pd.concat(tables)), "mean", [])


def throughput_table(runners: Runners, images: np.ndarray, parameters: "DeploymentParameters") -> pd.DataFrame:
    """Time an image in batches, of as many images as the largest batch has.

    Returns
    -------
    DataFrame
        ``timing.summarise_throughput`` with ``model`` and ``time_ratio``; the single ONNX model, which
        takes no batches, is left out.
    """
    batched = {key: runner for key, runner in runners.items() if key[0] != ONE_MODEL}
    tables = [
        timing.throughput(
            each, images[: max(parameters.batch_sizes)], parameters.batch_sizes, parameters.rounds
        )
        for each in _taking_turns(batched)
    ]
    return _with_time_ratio(timing.summarise_throughput(pd.concat(tables)), "milliseconds", ["batch_size"])


def exit_times(
    model: Model, images: np.ndarray, parameters: "DeploymentParameters", exported: Exported
) -> pd.DataFrame:
    """Mean time of an image by its exit and by the branches that are run on the way.

    Returns
    -------
    DataFrame
        ``exit`` (1 .. B + 1), ``branches`` (run on the way; without any, this is the bare backbone),
        ``batch_size`` (1: single ONNX model, otherwise ONNX stages), ``milliseconds`` and ``macs``.
    """
    branches, classes = model.cascade.thresholds.shape
    cost, ways, macs = model.cost, {}, {}
    for exit_number, are_open in [(e, branches) for e in range(branches)] + [
        (branches, b) for b in reversed(range(branches + 1))
    ]:
        leaving = model.with_thresholds(leaving_at(exit_number, are_open, branches, classes))
        way = (exit_number + 1, min(exit_number + 1, are_open))
        ways[way] = engines.onnx_engines(*leaving, parameters.threads, exported)
        macs[way] = int(cost.by_exit(leaving.cascade.thresholds)[exit_number])
    single = {way: runners[ONE_MODEL] for way, runners in ways.items()}
    batched = {way: runners[STAGES] for way, runners in ways.items()}
    tables = [
        timing.latencies(single, images[: parameters.latency_images]).assign(batch_size=1),
        timing.throughput(batched, images[: max(parameters.batch_sizes)], [BATCH], parameters.rounds),
    ]
    found = pd.concat(tables).groupby(["batch_size", "engine"], sort=False)["milliseconds"].mean().reset_index()
    found["macs"] = [macs[way] for way in found["engine"]]
    found["exit"], found["branches"] = zip(*found["engine"], strict=True)
    return found[["exit", "branches", "batch_size", "milliseconds", "macs"]]


def predicted_latency(
    latency: pd.DataFrame,
    by_exit: pd.DataFrame,
    models: dict[str, Model],
    images: np.ndarray,
    parameters: "DeploymentParameters",
) -> list[float]:
    """Mean time by the exits that the images take, for each row of the single ONNX model; otherwise nan."""
    times = parts(by_exit[by_exit["batch_size"] == 1], "milliseconds")

    def predicted(engine: str, model: Model) -> float:
        if engine != ONE_MODEL or model.cascade.backbone is not models[BACKBONE].cascade.backbone:
            return np.nan  # the times by exit are those of another engine, or another network
        taken = exits_of(model, images[: parameters.latency_images])
        return float(times.by_exit(model.cascade.thresholds)[taken].double().mean())

    return [predicted(row.engine, models[row.model]) for row in latency.itertuples()]


def latency_by_exit(runner: Engine, images: np.ndarray) -> pd.DataFrame:
    """Latency of single images and the exit that they take: ``exit`` (1 .. B + 1) and ``milliseconds``."""
    taken = np.concatenate([runner(images[i : i + 1]).exit for i in range(len(images))])
    chosen = np.concatenate([np.flatnonzero(taken == e)[:IMAGES_AN_EXIT] for e in np.unique(taken)])
    chosen = np.random.default_rng(0).permutation(chosen)  # the exits take turns
    table = timing.latencies({"published": runner}, images[chosen])
    return pd.DataFrame({"exit": taken[chosen] + 1, "milliseconds": table["milliseconds"]})


def _taking_turns(runners: Runners) -> list[dict[str, Engine]]:
    """The models of one engine take turns: those of another would only empty the caches for them."""
    names = dict.fromkeys(engine for engine, _ in runners)
    return [_flat({key: runner for key, runner in runners.items() if key[0] == name}) for name in names]


def _flat(runners: Runners) -> dict[str, Engine]:
    return {"|".join(key): runner for key, runner in runners.items()}


def _with_time_ratio(table: pd.DataFrame, column: str, also_by: list[str]) -> pd.DataFrame:
    """Split the engine's name from the model's, and set the time over that of the backbone."""
    table[["engine", "model"]] = table["engine"].str.split("|", expand=True)
    keys = ["engine", *also_by]
    alone = table[table["model"] == BACKBONE].set_index(keys)[column]
    return table.assign(time_ratio=table[column].to_numpy() / table.set_index(keys).index.map(alone).to_numpy())


def _with_macs(table: pd.DataFrame, models: dict[str, Model], images: np.ndarray) -> pd.DataFrame:
    spent = {name: macs_of(model, images).mean() for name, model in models.items()}
    return table.assign(macs_ratio=table["model"].map(spent) / spent[BACKBONE])
