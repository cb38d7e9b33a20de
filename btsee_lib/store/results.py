"""The results that take long: the backbone, its features and the trained branches.

The notebook that teaches one of them makes it (``make_...``, which does nothing if it is there
already), the later ones load it (``load_...``, which stops with a clear error if it is not).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from torch import nn
from tqdm import tqdm

from btsee_lib import boosting, features, fitting
from btsee_lib.calibration import Terms
from btsee_lib.compute import compute_device, new_fabric, set_up_torch
from btsee_lib.config import BoostingParameters, params
from btsee_lib.cost import CostModel
from btsee_lib.data import Splits, load_splits
from btsee_lib.experiment import input_path
from btsee_lib.features import Features
from btsee_lib.parallel import in_processes
from btsee_lib.schemes import PAPER_SCHEMES, SCHEMES, Scheme
from btsee_lib.store import artefacts, backbone_artefact
from btsee_lib.store.code import digests_of_code
from btsee_lib.store.data_checks import check_data
from btsee_lib.store.tree_artefact import TreeArtefact
from btsee_lib.trees import BranchTree

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FEATURES = "features"  # the name of the artefact


def load_data() -> Splits:
    """Load the data set that ``params.yaml`` names, and see that the parameters go with it."""
    parameters = params("data")
    asked = parameters.model_dump() | {"path": input_path(parameters.name, parameters.path)}
    splits = load_splits(**asked)
    check_data(splits)
    return splits


def make_backbone(splits: Splits, progress: Callable = tqdm) -> tuple[nn.Module, pd.DataFrame]:
    """Train the backbone, or load it if it has been trained from just this, here or by whom it is kept in git.

    Returns
    -------
    backbone : frozen, in evaluation mode.
    history : one row an epoch, see ``train_backbone``.
    """
    parameters = params("backbone")
    expected = backbone_artefact.backbone_fingerprint(parameters, splits)
    checkpoint = backbone_artefact.checkpoint_of("backbone", expected)

    def make(folder: Path, fabric: "Fabric") -> None:
        backbone_artefact.train_into(folder, splits, parameters, progress, fabric, checkpoint)

    folder = backbone_artefact.ensure_in_processes("backbone", expected, make)
    checkpoint.remove()
    return _read_backbone(folder, splits)


def load_backbone(splits: Splits) -> tuple[nn.Module, pd.DataFrame]:
    """Load the backbone that notebook 02 trained."""
    expected = backbone_artefact.backbone_fingerprint(params("backbone"), splits)
    return _read_backbone(artefacts.require("backbone", expected, "backbone"), splits)


def make_features(backbone: nn.Module, splits: Splits, progress: Callable = tqdm) -> Features:
    """Store what the branches read of every image, or map it into memory if it is stored."""

    def make(folder: Path, fabric: "Fabric") -> None:
        set_up_torch(0)
        features.store_features(backbone, splits, folder, params("features"), progress, fabric)

    expected = features_fingerprint("backbone")
    return features.load_features(backbone_artefact.ensure_in_processes(FEATURES, expected, make))


def load_stored_features() -> Features:
    """Map the features that notebook 02 stored into memory."""
    return features.load_features(artefacts.require(FEATURES, features_fingerprint("backbone"), "backbone"))


def make_backbone_and_features(progress: Callable) -> None:
    """Make both, as one of the processes that ``torchrun`` started, or alone."""
    compute = params("compute")
    # Two that read the data at once would get into each other's way.
    with new_fabric(compute.precision, compute.processes).rank_zero_first():
        splits = load_data()
    backbone, _ = make_backbone(splits, progress)
    make_features(backbone, splits, progress)


def make_trees() -> list[BranchTree]:
    """Train the branches of all configurations, a process a scheme and seed, or load what is there."""
    missing = [each for each in tree_artefacts() if not each.is_there()]
    in_processes(_make_tree, [(each,) for each in missing], tqdm)
    _near_features.cache_clear()
    return load_trees()


def _make_tree(tree: TreeArtefact) -> None:
    ensure_tree(tree, SCHEMES[tree.scheme], _near_features, params("boosting"))


@cache
def _near_features() -> Features:
    """Bring the features to a GPU once, for all that one process trains."""
    return features.on_device_if_it_fits(load_stored_features(), compute_device())


def ensure_tree(
    tree: TreeArtefact, scheme: Scheme, stored: Callable[[], Features], parameters: BoostingParameters
) -> BranchTree:
    """Train the branches of a seed by a scheme, or load them if they are there.

    Parameters
    ----------
    stored : returns the features; called only if need be.
    """
    arguments = (params("branches"), parameters, tree.seed)
    return tree.ensure(lambda: boosting.train_tree(scheme, stored(), *arguments), stored)


def load_trees() -> list[BranchTree]:
    """Load the branches that notebook 03 trained, seed by seed and scheme by scheme."""
    return [each.require("boosted_branches") for each in tree_artefacts()]


def tree_artefacts() -> list[TreeArtefact]:
    """Where the branches that notebook 03 trains lie, seed by seed and scheme by scheme."""
    return [
        tree_artefact(f"cascades/{scheme}_seed_{seed}", scheme, seed, params("boosting"), FEATURES)
        for seed in params("boosting").seeds
        for scheme in PAPER_SCHEMES
    ]


class Results(NamedTuple):
    """Everything that notebooks 02 and 03 made."""

    splits: Splits
    backbone: nn.Module
    features: Features
    trees: list[BranchTree]
    cost: CostModel
    terms: Terms


def load_results() -> Results:
    """Load data, backbone, features and branches, measure the costs, and set the terms of calibration."""
    splits = load_data()
    (backbone, _), stored, trees = load_backbone(splits), load_stored_features(), load_trees()
    terms = boosting.calibration_terms(stored, params("boosting"))
    return Results(splits, backbone, stored, trees, cost_model(backbone, stored, splits), terms)


def cost_model(backbone: nn.Module, stored: Features, splits: Splits) -> CostModel:
    """Measure the MACs of the backbone's stages and of its branches on one image."""
    numbers = range(1, len(stored["train"].squeezed) + 1)
    boosting.check_one_a_branch("branches.channels", params("branches").channels, len(numbers))
    boosting.check_one_a_branch("boosting.margins", params("boosting").margins, len(numbers))
    branches = [fitting.initial_branch(number, stored, params("branches"), 0) for number in numbers]
    return CostModel.measure(backbone, branches, splits.test.images.shape[1:])


def features_fingerprint(backbone_name: str) -> dict:
    """Describe what features are made from, those of the backbone that lies in an artefact of this name."""
    return artefacts.fingerprint([params("compute"), params("features")], features, [backbone_name])


def tree_artefact(
    name: str, scheme: str, seed: int, parameters: BoostingParameters, features_name: str
) -> TreeArtefact:
    """Describe the branches of a scheme and seed, trained on the features in the artefact of that name."""
    made_from = tree_fingerprint(scheme, seed, parameters, features_name)
    return TreeArtefact(name, made_from, scheme, seed)


def tree_fingerprint(scheme: str, seed: int, parameters: BoostingParameters, features_name: str) -> dict:
    """Describe what the branches of a scheme and seed are made from: the features in that artefact."""
    # Only this seed: adding one to the list must not train the others again.
    only_this = parameters.model_copy(update={"seeds": [seed]})
    chosen, head = SCHEMES[scheme], SCHEMES[scheme].head
    settings = {"scheme": scheme, "settings": vars(chosen) | {"head": head.__qualname__}}
    made_from = artefacts.fingerprint([params("branches"), only_this], boosting, [features_name], **settings)
    made_from["code"] |= digests_of_code(type(chosen).__module__) | digests_of_code(head.__module__)
    return made_from


def _read_backbone(folder: Path, splits: Splits) -> tuple[nn.Module, pd.DataFrame]:
    network = backbone_artefact.read_backbone(folder, splits, params("backbone"))
    return network, pd.read_csv(folder / "history.csv")
