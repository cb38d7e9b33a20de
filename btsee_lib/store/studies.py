"""The two studies of the branches, which take long: made in several processes, or loaded."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.parallel import in_processes
from btsee_lib.store import artefacts
from btsee_lib.store.results import cost_model, load_backbone, load_data, load_stored_features
from btsee_lib.store.tables import read_tables
from btsee_lib.studies import branch_design


def make_studies() -> dict[str, pd.DataFrame]:
    """Run the two studies of ``branch_design`` in several processes, or load their tables if they are there."""
    seed = params("boosting").seeds[0]

    def make(folder: Path) -> None:
        calls = [("learning_curves", seed), *((kind, seed) for kind in branch_design.KINDS)]
        curves, *kinds = in_processes(_part_of_studies, calls, tqdm)
        curves.to_csv(folder / "learning_curves.csv", index=False)
        pd.concat(kinds).to_csv(folder / "branch_kinds.csv", index=False)

    return read_tables(artefacts.ensure("studies", studies_made_from(), make))


def load_studies() -> dict[str, pd.DataFrame]:
    """Load the tables that ``make_studies`` wrote."""
    return read_tables(artefacts.require("studies", studies_made_from(), "boosted_branches"))


def studies_made_from() -> dict:
    """Describe what the studies are made from, with the first seed."""
    first = params("boosting").model_copy(update={"seeds": params("boosting").seeds[:1]})
    return artefacts.fingerprint([params("branches"), first], branch_design, ["features"])


def _part_of_studies(name: str, seed: int) -> pd.DataFrame:
    """Make the learning curves, or the rows of a kind of branch."""
    set_up_torch(seed)
    stored, branches = load_stored_features(), params("branches")
    if name == "learning_curves":
        return branch_design.learning_curves(stored, branches, params("boosting"), seed)
    splits = load_data()
    backbone, _ = load_backbone(splits)
    macs = cost_model(backbone, stored, splits).backbone
    return branch_design.branch_kind(name, backbone, splits, stored, branches, macs, seed)
