"""Both schemes of the paper once more, each branch after the number of visits that valid finds best for it."""

from collections.abc import Iterable

import pandas as pd
from tqdm import tqdm

from btsee_lib import boosting
from btsee_lib.config import params
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import PAPER_SCHEMES
from btsee_lib.schemes.visits import OwnVisits
from btsee_lib.store import artefacts, results
from btsee_lib.store.code import digests_of_code
from btsee_lib.store.studies import load_studies, make_studies
from btsee_lib.studies.branch_design import best_visits
from btsee_lib.trees import BranchTree, TrainedBranch


def make_own_visits() -> list[BranchTree]:
    """Train the branches of all configurations after their own best visits, or load what is there."""
    in_processes(_make_tree, _calls(make_studies()), tqdm)
    return load_own_visits()


def load_own_visits() -> list[BranchTree]:
    """Load the branches that ``make_own_visits`` trained, seed by seed and scheme by scheme."""
    return [
        results.read_tree(artefacts.require(_name(*call[:2]), made_from(*call), "boosted_branches"), *call[:2])
        for call in _calls(load_studies())
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


def _calls(studies: dict[str, pd.DataFrame]) -> list[tuple[str, int, tuple[float, ...]]]:
    """Scheme, seed, and shares of the visits, one a branch."""
    shares = best_shares(studies["learning_curves"])
    return [(scheme, seed, shares[scheme]) for seed in params("boosting").seeds for scheme in PAPER_SCHEMES]


def _name(scheme: str, seed: int) -> str:
    return f"own_visits/{scheme}_seed_{seed}"


def _make_tree(scheme: str, seed: int, shares: tuple[float, ...]) -> None:
    def train() -> Iterable[TrainedBranch]:
        arguments = (results.load_stored_features(), params("branches"), params("boosting"), seed)
        return boosting.train_tree(OwnVisits(PAPER_SCHEMES[scheme], shares), *arguments)

    results.kept_tree(_name(scheme, seed), made_from(scheme, seed, shares), scheme, seed, train)
