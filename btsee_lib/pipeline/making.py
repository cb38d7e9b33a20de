"""Make what takes long, or see that it is there."""

import os

from tqdm import tqdm

from btsee_lib.store import deployment_results, own_visits, results, studies


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
    backbone, _ = results.make_backbone(splits, tqdm)
    results.make_features(backbone, splits, tqdm)
    results.make_trees(tqdm)
    studies.make_studies(tqdm)
    own_visits.make_own_visits(tqdm)
    deployment_results.make_static_backbone(splits, tqdm)
