"""Make what takes long, or see that it is there."""

import os

from tqdm import tqdm

from btsee_lib.store import artefacts, deployment_results, own_visits, results, studies

# Of what takes longest, what is small; so are the weights of the branches.
KEPT = ("backbone", deployment_results.STATIC, "studies")


def fetch_data() -> None:
    """Fetch and verify the data set that ``params.yaml`` names."""
    splits = results.load_data()
    sizes = ", ".join(f"{len(getattr(splits, name)):,} {name}" for name in ("train", "valid", "test"))
    print(f"data: {sizes}, from {splits.source}")


def make_backbone() -> None:
    """Make the backbone and its features: what ``torchrun`` starts, on one machine or on several."""
    first = os.environ.get("RANK", "0") == "0"
    results.make_backbone_and_features(tqdm if first else iter)


def make_artefacts() -> None:
    """Make everything that takes long, unless it is there: then the notebooks only load it."""
    splits = results.load_data()
    backbone, _ = results.make_backbone(splits)
    results.make_features(backbone, splits)
    results.make_trees()
    studies.make_studies()
    own_visits.make_own_visits()
    deployment_results.make_static_backbone(splits)


def keep_in_git() -> None:
    """Copy what takes longest to where it is kept in git; whoever runs the same takes it over from there."""
    trees = [each.name for each in (*results.tree_artefacts(), *own_visits.tree_artefacts())]
    for name in (*KEPT, *trees):
        artefacts.keep(name)
        print(f"kept: {name}")
