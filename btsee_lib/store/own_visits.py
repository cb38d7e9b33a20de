"""Both schemes of the paper once more, each branch after the number of visits that valid finds best for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

from btsee_lib import boosting
from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import PAPER_SCHEMES
from btsee_lib.schemes.visits import OwnVisits
from btsee_lib.store import artefacts, results
from btsee_lib.store.code import digests_of_code
from btsee_lib.store.studies import make_studies
from btsee_lib.studies.branch_design import best_visits
from btsee_lib.trees import BranchTree, tree_of


def make_own_visits(progress: Callable = iter) -> list[BranchTree]:
    """Train the branches of all configurations after their own best visits, or load what is there."""
    in_processes(_make_tree, list(_calls()), progress)
    return load_own_visits()


def load_own_visits() -> list[BranchTree]:
    """Load the branches that ``make_own_visits`` trained, seed by seed and scheme by scheme."""
    return [
        results.read_tree(artefacts.require(_name(*call), _made_from(*call), "boosted_branches"), *call[:2])
        for call in _calls()
    ]


def _calls() -> Iterator[tuple[str, int, tuple[float, ...]]]:
    """Scheme, seed and shares of the visits, one a branch; all of them where no curve tells (no survivors)."""
    usual, branches = params("branches").epochs, range(1, len(params("boosting").margins) + 1)
    best = best_visits(make_studies()["learning_curves"]).set_index(["training", "branch"])["epochs"] / usual
    shares = {
        scheme: tuple(float(best.get((scheme, number), 1.0)) for number in branches) for scheme in PAPER_SCHEMES
    }
    return ((scheme, seed, shares[scheme]) for seed in params("boosting").seeds for scheme in PAPER_SCHEMES)


def _name(scheme: str, seed: int, shares: tuple[float, ...]) -> str:
    return f"own_visits/{scheme}_seed_{seed}"


def _made_from(scheme: str, seed: int, shares: tuple[float, ...]) -> dict:
    made_from = results.tree_fingerprint(scheme, seed, params("boosting"), results.FEATURES)
    made_from["code"] |= digests_of_code(OwnVisits.__module__)
    return made_from | {"shares": list(shares)}


def _make_tree(scheme: str, seed: int, shares: tuple[float, ...]) -> None:
    def make(folder: Path) -> None:
        set_up_torch(seed)
        arguments = (results.load_stored_features(), params("branches"), params("boosting"), seed)
        trained = boosting.train_tree(OwnVisits(PAPER_SCHEMES[scheme], shares), *arguments)
        results.write_tree(folder, tree_of(scheme, seed, list(trained)))

    artefacts.ensure(_name(scheme, seed, shares), _made_from(scheme, seed, shares), make)
