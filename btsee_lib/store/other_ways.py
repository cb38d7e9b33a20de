"""The comparison of all schemes: hours of training, so it is run by hand and its tables are kept in git."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from btsee_lib import boosting
from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.evaluation import BTS_EE
from btsee_lib.experiment import current_experiment
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import artefacts, results
from btsee_lib.studies import other_ways
from btsee_lib.studies.survivors import survivors_of
from btsee_lib.trees import BranchTree, of_scheme, tree_of


def measure_other_ways(progress: Callable = iter) -> Path:
    """Train the branches of every scheme behind the rungs, and write the tables of the comparison.

    What is trained is kept: an interrupted run goes on, and one more scheme trains itself alone.

    Returns
    -------
    Path
        The folder of the tables, ``reports/measured/DATA_SET``.
    """
    boosting_parameters, evaluation = params("boosting"), params("evaluation")
    calls = [(name, seed) for seed in boosting_parameters.seeds for name in SCHEMES]
    in_processes(_make_tree, calls, progress)
    trees = [_read_tree(*call) for call in calls]
    splits, stored = results.load_data(), results.load_stored_features()
    backbone, _ = results.load_backbone(splits)
    cost = results.cost_model(backbone, stored, splits)
    decisions = other_ways.evaluated(trees, stored, cost, boosting_parameters)
    tables = {
        "configurations": decisions.table,
        "standings": other_ways.standings(decisions, evaluation),
        "pairs": other_ways.who_beats_whom(decisions, evaluation),
        "training": _training_costs(calls),
        "effort": pd.concat(in_processes(_accuracy_by_effort, [(name,) for name in SCHEMES], progress)),
    }
    folder = current_experiment().root / "reports" / "measured" / params("data").name
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    return folder


def _name(scheme: str, seed: int) -> str:
    return f"other_ways/{scheme.replace(',', '').replace(' ', '_')}_seed_{seed}"


def _make_tree(scheme: str, seed: int) -> None:
    """Train the branches of a scheme behind the rungs, or do nothing if they are there."""
    parameters = params("boosting")

    def make(folder: Path) -> None:
        set_up_torch(seed)
        started = time.perf_counter()
        arguments = (SCHEMES[scheme], results.load_stored_features(), params("branches"), parameters, seed)
        trained = list(boosting.train_tree(*arguments, chosen=other_ways.rungs(parameters)))
        results.write_tree(folder, tree_of(scheme, seed, trained))
        seconds = {"branches": len(trained), "seconds": time.perf_counter() - started}
        pd.DataFrame([seconds]).to_csv(folder / "seconds.csv", index=False)

    expected = results.tree_fingerprint(scheme, seed, parameters, results.FEATURES)
    artefacts.ensure(_name(scheme, seed), expected | {"behind": "rungs"}, make)


def _read_tree(scheme: str, seed: int) -> BranchTree:
    return results.read_tree(artefacts.folder_of(_name(scheme, seed)), scheme, seed)


def _training_costs(calls: list[tuple[str, int]]) -> pd.DataFrame:
    """How many branches each scheme and seed trained, and in how many seconds of one core."""
    parts = [
        pd.read_csv(artefacts.folder_of(_name(scheme, seed)) / "seconds.csv").assign(training=scheme, seed=seed)
        for scheme, seed in calls
    ]
    return pd.concat(parts)[["training", "seed", "branches", "seconds"]]


def _accuracy_by_effort(scheme: str) -> pd.DataFrame:
    """Accuracy of the branches of a scheme on whom the boosted tree of the first seed passes on."""
    parameters, stored = params("boosting"), results.load_stored_features()
    tree = of_scheme(results.load_trees(), BTS_EE.training)[0]
    terms = boosting.calibration_terms(stored, parameters)
    reached = survivors_of(tree, stored, parameters, terms)
    middle = other_ways.middle_rung(parameters)
    met = [reached[number, middle[: number - 1]]["valid"] for number in range(1, len(middle) + 1)]
    set_up_torch(tree.seed)
    return other_ways.accuracy_by_effort(scheme, stored, params("branches"), parameters, met, tree.seed)
