"""The comparison of all schemes: an hour of training or more, so by hand, and its tables are kept in git."""

import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from btsee_lib import boosting
from btsee_lib.calibration import SURVIVORS
from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.evaluation import BTS_EE, CALIBRATION_ALONE, evaluate_configurations
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import artefacts, results
from btsee_lib.store.code import digests_of_code
from btsee_lib.store.measured import keep_comparison
from btsee_lib.store.rival_results import measured_rivals
from btsee_lib.store.tree_artefact import TreeArtefact, write_weights
from btsee_lib.studies import effort, levers, other_ways, rivals
from btsee_lib.studies.survivors import survivors_of
from btsee_lib.trees import BranchTree, of_scheme, tree_of

NAME = "other_ways"


def measure_other_ways() -> None:
    """Train the branches of every scheme behind the rungs, and write the tables of the comparison.

    What is trained is kept: an interrupted run goes on, and one more scheme in a file of its own trains itself
    alone.
    """
    parameters, evaluation = params("boosting"), params("evaluation")
    calls = [(name, seed) for seed in parameters.seeds for name in SCHEMES]
    short_calls = [(CALIBRATION_ALONE.training, seed, min(effort.EFFORTS)) for seed in parameters.seeds]
    trained = in_processes(trained_tree, [*calls, *short_calls], tqdm)
    trees = trained[: len(calls)]
    short = [replace(each, scheme=levers.SHORT) for each in trained[len(calls) :]]
    in_processes(_make_effort, [(name,) for name in SCHEMES], tqdm)
    splits, stored = results.load_data(), results.load_stored_features()
    backbone, _ = results.load_backbone(splits)
    cost = results.cost_model(backbone, stored, splits)
    independent = of_scheme(trees, CALIBRATION_ALONE.training)
    at_rungs = {"chosen": effort.rungs(parameters)}
    decisions = evaluate_configurations(trees, stored, cost, parameters, calibrations=[SURVIVORS], **at_rungs)
    under_rules = other_ways.under_rules(trees, stored, cost, parameters)
    others = evaluate_configurations([*independent, *short], stored, cost, parameters, **at_rungs)
    offered = other_ways.offers(under_rules, evaluation)
    tables = {
        "configurations": decisions.table,
        "standings": other_ways.standings(decisions, evaluation),
        "pairs": other_ways.who_beats_whom(decisions, evaluation),
        "levers": levers.other_levers(others, evaluation),
        "rules": other_ways.by_rule(under_rules),
        "offers": offered,
        "networks": rivals.against_networks(under_rules, offered, measured_rivals(splits), evaluation),
        "training": pd.concat([_table(_name(*call), "training") for call in calls]),
        "effort": pd.concat([_table(_effort_name(name), "effort") for name in SCHEMES]),
    }
    where = keep_comparison(NAME, tables)
    print(f"{len(SCHEMES)} schemes, {len(parameters.seeds)} seeds: {where}")


def _name(scheme: str, seed: int, share: float = 1.0) -> str:
    return f"{NAME}/{_plain(scheme)}_seed_{seed}_share_{share:g}"


def _effort_name(scheme: str) -> str:
    return f"{NAME}/{_plain(scheme)}_effort"


def _plain(scheme: str) -> str:
    return scheme.replace(",", "").replace(" ", "_")


def _table(artefact: str, name: str) -> pd.DataFrame:
    return pd.read_csv(artefacts.folder_of(artefact) / f"{name}.csv")


def _made_from(scheme: str, seed: int, **others: object) -> dict:
    parameters = params("boosting")
    rungs = [list(rung) for rung in effort.rungs(parameters)]
    return results.tree_fingerprint(scheme, seed, parameters, results.FEATURES) | {"behind": rungs} | others


def trained_tree(scheme: str, seed: int, share: float = 1.0) -> BranchTree:
    """Return the branches of a scheme behind the rungs, after a share of the visits; trained if need be."""
    parameters = params("boosting")
    branches = params("branches").model_copy(update={"epochs": share * params("branches").epochs})

    def make(folder: Path) -> None:
        set_up_torch(seed)
        started = time.process_time()
        arguments = (SCHEMES[scheme], results.load_stored_features(), branches, parameters, seed)
        trained = list(boosting.train_tree(*arguments, chosen=effort.rungs(parameters)))
        row = {"training": scheme, "seed": seed, "branches": len(trained)}
        seconds = {"seconds": time.process_time() - started}
        pd.DataFrame([row | seconds]).to_csv(folder / "training.csv", index=False)
        write_weights(folder, tree_of(scheme, seed, trained))

    name, made_from = _name(scheme, seed, share), _made_from(scheme, seed, share=share)
    artefacts.ensure(name, made_from, make)
    return TreeArtefact(name, made_from, scheme, seed).answered(results.load_stored_features)


def _make_effort(scheme: str) -> None:
    """Train the branches of a scheme with fewer visits, and try them on whom boosted branches pass on."""
    parameters = params("boosting")
    seed = parameters.seeds[0]

    def make(folder: Path) -> None:
        stored = results.load_stored_features()
        terms = boosting.calibration_terms(stored, parameters)
        reached = survivors_of(trained_tree(BTS_EE.training, seed), stored, parameters, terms)
        middle = effort.middle_rung(parameters)
        met = [reached[number, middle[: number - 1]]["valid"] for number in range(1, len(middle) + 1)]
        set_up_torch(seed)
        arguments = (stored, params("branches"), parameters, met)
        table = effort.accuracy_by_effort(SCHEMES[scheme], trained_tree(scheme, seed), *arguments)
        table.to_csv(folder / "effort.csv", index=False)

    trees = {name: artefacts.digest_of(_name(name, seed)) for name in (scheme, BTS_EE.training)}
    made_from = _made_from(scheme, seed, efforts=list(effort.EFFORTS), trees=trees)
    made_from["code"] |= digests_of_code(effort.__name__)
    artefacts.ensure(_effort_name(scheme), made_from, make)
