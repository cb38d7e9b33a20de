"""What notebook 10 measures: single images, batches, exits and parts, as tables."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from btsee_lib.deployment.onnx_export import Exported
from btsee_lib.deployment.time_costs import cost_of_parts
from btsee_lib.deployment.timed_models import BACKBONE, Model, at_full_width
from btsee_lib.deployment.timing import EAGER, ONE_MODEL, STAGES, WARM_UP, Engine, time_calls
from btsee_lib.errors import ParameterError
from btsee_lib.parallel import exactly

if TYPE_CHECKING:
    from btsee_lib.config import DeploymentParameters

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
    published : the name of the cascade that is looked at exit by exit.
    images : raw, uint8 (N, C, H, W).

    Returns
    -------
    dict of DataFrame
        ``latency``, of single images: ``engine, model, mean, p50, p95`` (ms); ``time_ratio`` of the mean and
        ``macs_ratio`` of the MACs on these images, to the backbone in the same engine; ``predicted``, the
        mean that ``exit_times`` predicts for the single ONNX model; ``width``.
        ``throughput``, in batches, but of the single model, which takes none: ``engine, model, batch_size``;
        ``milliseconds`` an image, the median over the rounds, ``lowest`` and ``highest``;
        ``images_per_second``, of the median; ``time_ratio, macs_ratio, width``.
        ``exit_times``: ``exit`` (1 .. B + 1), ``branches`` (run on the way; without any, this is the bare
        backbone), ``batch_size`` (1: single ONNX model, otherwise ONNX stages), ``milliseconds`` an image,
        the mean, ``macs, width``.
        ``latency_by_exit``, of single images: the ``exit`` that they take, and ``milliseconds``.

    Raises
    ------
    ParameterError
        If torch cannot run with so many threads.
    """
    tables: dict[str, list[pd.DataFrame]] = {"latency": [], "throughput": [], "exit_times": []}
    # Networks at full width take ten times as long, and their times vary less.
    less = {"latency_images": max(WARM_UP, parameters.latency_images // 5), "rounds": 1}
    with _with_threads(parameters.threads):
        copies = at_full_width(models, images, parameters.full_width)
        for each, asked in progress([(models, parameters), (copies, parameters.model_copy(update=less))]):
            measured = _Measurement(each, images, asked)
            if each is models:
                by_exit = latency_by_exit(measured.engines[ONE_MODEL, published], images)
            parts = measured.exit_times(each[published])
            found = {
                "latency": measured.latency(parts),
                "throughput": measured.throughput(),
                "exit_times": parts,
            }
            for kind, table in found.items():
                tables[kind].append(table.assign(width=each[BACKBONE].description.width))
    joined = {kind: pd.concat(each, ignore_index=True) for kind, each in tables.items()}
    return joined | {"latency_by_exit": by_exit}


@contextmanager
def _with_threads(threads: int) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exactly(threads))
        except RuntimeError as problem:
            raise ParameterError(
                f"params.yaml: deployment.threads is {threads}, but {problem}: "
                f"set deployment.threads to {torch.get_num_threads()}"
            ) from None
        yield


def latency_by_exit(run: Engine, images: np.ndarray) -> pd.DataFrame:
    """Latency of single images and the exit that they take: ``exit`` (1 .. B + 1) and ``milliseconds``."""
    taken = np.concatenate([run(images[i : i + 1]).exit for i in range(len(images))])
    chosen = np.concatenate([np.flatnonzero(taken == e)[:IMAGES_AN_EXIT] for e in np.unique(taken)])
    chosen = np.random.default_rng(0).permutation(chosen)  # the exits take turns
    calls = time_calls({(): run}, images[chosen], names=())
    return pd.DataFrame({"exit": taken[chosen] + 1, "milliseconds": calls["milliseconds"]})


class _Measurement:
    """Models of one width, with all engines that they are run by; the tables are those of ``measure``."""

    def __init__(self, models: dict[str, Model], images: np.ndarray, parameters: "DeploymentParameters"):
        self.models, self.parameters = models, parameters
        self.single, self.batched = images[: parameters.latency_images], images[: max(parameters.batch_sizes)]
        self.exported: Exported = {}
        self.engines = {
            (engine, name): run
            for name, model in models.items()
            for engine, run in model.engines(parameters.threads, self.exported).items()
        }

    def latency(self, exit_times: pd.DataFrame) -> pd.DataFrame:
        calls = pd.concat(self._calls(engine, self.single) for engine in (EAGER, STAGES, ONE_MODEL))
        times = calls.groupby(["engine", "model"], sort=False)["milliseconds"]
        table = times.agg(mean="mean", p50="median", p95=lambda each: each.quantile(0.95)).reset_index()
        predicted = table["model"].map(self._predicted(exit_times)).where(table["engine"] == ONE_MODEL)
        return self._relative(table, "mean", ["engine"], self.single).assign(predicted=predicted)

    def throughput(self) -> pd.DataFrame:
        keys = ["engine", "model", "batch_size"]
        calls = pd.concat(
            self._calls(engine, self.batched, size, self.parameters.rounds).assign(batch_size=size)
            for engine in (EAGER, STAGES)
            for size in self.parameters.batch_sizes
        )
        by_round = calls.groupby([*keys, "round"], sort=False)["milliseconds"].sum() / len(self.batched)
        times = by_round.groupby(keys, sort=False)
        table = times.agg(milliseconds="median", lowest="min", highest="max").reset_index()
        table["images_per_second"] = 1000 / table["milliseconds"]
        return self._relative(table, "milliseconds", ["engine", "batch_size"], self.batched)

    def exit_times(self, model: Model) -> pd.DataFrame:
        branches, cost = len(model.cascade.branches), model.cost
        ways = [(number, branches) for number in range(branches)]
        ways += [(branches, number) for number in reversed(range(branches + 1))]
        engines, macs, tables = {}, [], []
        for exit_number, are_open in ways:
            leaving = model.leaving_at(exit_number, are_open)
            way = (exit_number + 1, min(exit_number + 1, are_open))
            engines[way] = leaving.engines(self.parameters.threads, self.exported)
            macs.append(int(cost.by_exit(leaving.cascade.thresholds)[exit_number]))
        for engine, images, size, rounds in (
            (ONE_MODEL, self.single, 1, 1),
            (STAGES, self.batched, BATCH, self.parameters.rounds),
        ):
            runs = {way: each[engine] for way, each in engines.items()}
            calls = time_calls(runs, images, size, rounds, ["exit", "branches"]).assign(batch_size=size)
            times = calls.groupby(["exit", "branches", "batch_size"], sort=False)["milliseconds"]
            tables.append((times.sum() / (rounds * len(images))).reset_index().assign(macs=macs))
        return pd.concat(tables)

    def _predicted(self, exit_times: pd.DataFrame) -> dict[str, float]:
        """Mean time by the exits that the images take, for models on the network whose exits were timed."""
        times, predicted = cost_of_parts(exit_times[exit_times["batch_size"] == 1], "milliseconds"), {}
        for name, model in self.models.items():
            if model.cascade.backbone is self.models[BACKBONE].cascade.backbone:
                taken = times.by_exit(model.cascade.thresholds)[model.answers(self.single).exit]
                predicted[name] = taken.double().mean().item()
        return predicted

    def _calls(self, engine: str, images: np.ndarray, batch_size: int = 1, rounds: int = 1) -> pd.DataFrame:
        """The models of one engine take turns: those of another would only empty the caches for them."""
        runs = {key: run for key, run in self.engines.items() if key[0] == engine}
        return time_calls(runs, images, batch_size, rounds)

    def _relative(self, table: pd.DataFrame, column: str, keys: list[str], images: np.ndarray) -> pd.DataFrame:
        """Add the ratios to the backbone, of the rows that have the ``keys`` in common."""
        alone = table[column].where(table["model"] == BACKBONE).groupby([table[key] for key in keys])
        spent = {name: model.macs(images).mean() for name, model in self.models.items()}
        return table.assign(
            time_ratio=table[column] / alone.transform("first"),
            macs_ratio=table["model"].map(spent) / spent[BACKBONE],
        )
