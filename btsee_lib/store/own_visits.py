"""Both schemes of the paper once more, each branch after the number of visits that valid finds best for it."""

import pandas as pd
from tqdm import tqdm

from btsee_lib.config import params
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import PAPER_SCHEMES
from btsee_lib.schemes.visits import OwnVisits
from btsee_lib.store import results
from btsee_lib.store.code import digests_of_code
from btsee_lib.store.studies import load_studies, make_studies
from btsee_lib.store.tree_artefact import TreeArtefact
from btsee_lib.studies.branch_design import best_visits
from btsee_lib.trees import BranchTree


def make_own_visits() -> list[BranchTree]:
    """Train the branches of all configurations after their own best visits, or load what is there."""
    make_studies()  # they tell how many
    in_processes(_make_tree, [(each,) for each in tree_artefacts() if not each.is_there()], tqdm)
    return load_own_visits()


def load_own_visits() -> list[BranchTree]:
    """Load the branches that ``make_own_visits`` trained, seed by seed and scheme by scheme."""
    return [each.require("boosted_branches") for each in tree_artefacts()]


def tree_artefacts() -> list[TreeArtefact]:
    """Where these branches lie, seed by seed and scheme by scheme."""
    shares = best_shares(load_studies()["learning_curves"])
    return [
        TreeArtefact(f"own_visits/{scheme}_seed_{seed}", made_from(scheme, seed, shares[scheme]), scheme, seed)
        for seed in params("boosting").seeds
        for scheme in PAPER_SCHEMES
    ]


def best_shares(curves: pd.DataFrame) -> dict[str, tuple[float, ...]]:
    """The best share of the usual visits, a scheme, one a branch; all where no curve tells (no survivors)."""
    usual, branches = params("branches").epochs, range(1, len(params("boosting").margins) + 1)
    best = best_visits(curves).set_index(["training", "branch"])["epochs"] / usual
    return {
        scheme: tuple(float(best.get((scheme, number), 1.0)) for number in branches) for scheme in PAPER_SCHEMES
    }


def made_from(scheme: str, seed: int, shares: tuple[float, ...]) -> dict:
    """Describe what the branches of a scheme and seed are made from, each after its share of the visits."""
    described = results.tree_fingerprint(scheme, seed, params("boosting"), results.FEATURES)
    described["code"] |= digests_of_code(OwnVisits.__module__)
    return described | {"shares": list(shares)}


def _make_tree(tree: TreeArtefact) -> None:
    own = OwnVisits(PAPER_SCHEMES[tree.scheme], tuple(tree.made_from["shares"]))
    results.ensure_tree(tree, own, results.load_stored_features, params("boosting"))
