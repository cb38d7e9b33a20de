"""Both schemes on parts of the training images: half an hour, so by hand, and its tables are kept in git."""

from collections.abc import Iterable
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from btsee_lib import boosting
from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import PAPER_SCHEMES
from btsee_lib.schemes.visits import OwnVisits
from btsee_lib.store import artefacts, own_visits, results
from btsee_lib.store.code import digests_of_code
from btsee_lib.store.measured import keep_comparison
from btsee_lib.store.studies import make_studies, studies_made_from
from btsee_lib.store.tables import read_tables
from btsee_lib.store.tree_artefact import TreeArtefact
from btsee_lib.studies import branch_design, effort, fewer_images, parts
from btsee_lib.trees import BranchTree, TrainedBranch

NAME = "fewer_images"


def measure_fewer_images() -> None:
    """Train both schemes on each part, each branch after its own best visits, and write what boosting gains."""
    stored, parameters = results.load_stored_features(), params("boosting")
    make_studies()  # of all images
    in_processes(_curves, [(part,) for part in parts.PARTS], tqdm)
    calls = list(product(parts.PARTS, PAPER_SCHEMES, parameters.seeds))
    trees, tables = dict(zip(calls, in_processes(_tree, calls, tqdm), strict=True)), []
    for seed in parameters.seeds:
        pairs = {part: tuple(trees[part, scheme, seed] for scheme in PAPER_SCHEMES) for part in parts.PARTS}
        numbers = {round(part * len(stored["train"])): pair for part, pair in pairs.items()}
        tables.append(fewer_images.gains_on_same_images(numbers, stored, parameters))
    print(keep_comparison(NAME, {"branches": pd.concat(tables)}))


@cache
def _curves(part: float) -> pd.DataFrame:
    """Learning curves on a part of the training images; those of all images are one of the studies."""
    if part == 1:
        return make_studies()["learning_curves"]
    seed = params("boosting").seeds[0]

    def make(folder: Path) -> None:
        set_up_torch(seed)
        fewer = parts.part_of_training(results.load_stored_features(), part, seed)
        arguments = (fewer, params("branches"), params("boosting"), seed)
        branch_design.learning_curves(*arguments).to_csv(folder / "learning_curves.csv", index=False)

    expected = _of_part(studies_made_from(), part)
    folder = artefacts.ensure(f"{NAME}/curves_{part:g}", expected, make)
    return read_tables(folder)["learning_curves"]


def _of_part(made_from: dict, part: float) -> dict:
    return made_from | {"code": made_from["code"] | digests_of_code(parts.__name__), "part": part}


def _tree(part: float, scheme: str, seed: int) -> BranchTree:
    """The branches of a scheme behind the rungs, trained on a part of the training images if need be."""
    parameters, rungs = params("boosting"), effort.rungs(params("boosting"))
    shares = own_visits.best_shares(_curves(part))[scheme]

    def train() -> Iterable[TrainedBranch]:
        fewer = parts.part_of_training(results.load_stored_features(), part, seed)
        arguments = (fewer, params("branches"), parameters, seed)
        return boosting.train_tree(OwnVisits(PAPER_SCHEMES[scheme], shares), *arguments, chosen=rungs)

    expected = _of_part(own_visits.made_from(scheme, seed, shares), part)
    expected |= {"behind": [list(rung) for rung in rungs]}
    tree = TreeArtefact(f"{NAME}/{scheme}_seed_{seed}_part_{part:g}", expected, scheme, seed)
    return tree.ensure(train, results.load_stored_features)
