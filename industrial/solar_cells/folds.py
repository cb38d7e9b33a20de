"""Cross-validation over solar modules: for each fold a backbone, its features and its branches.

One test split, 500 cells of nine modules, says little. With every fold the test split once, each
cell is judged once, by networks that never saw its module. What takes long is kept by fold, with a
fingerprint, as the library keeps it (``btsee_lib.store.results``).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn

from btsee_lib import features
from btsee_lib.compute import new_fabric, set_up_torch
from btsee_lib.config import BoostingParameters, params
from btsee_lib.cost import CostModel
from btsee_lib.data.splits import ImageSet, Splits
from btsee_lib.evaluation import BASELINE, BTS_EE
from btsee_lib.features import Features
from btsee_lib.schemes import SCHEMES
from btsee_lib.store import artefacts, results
from btsee_lib.store.backbone_artefact import backbone_fingerprint, read_backbone, train_into
from btsee_lib.trees import BranchTree
from solar_cells import elpv
from solar_cells.elpv import Cells

if TYPE_CHECKING:
    from lightning_fabric import Fabric

EQUAL, UNEQUAL = "equal", "unequal"
TRAINED = (BASELINE.training, BTS_EE.training)  # the schemes of which trees are made


@dataclass(frozen=True)
class Fold:
    """One fold, trained.

    ``test`` holds the positions of its test cells, int64 (N,), in the order of ``features["test"]``;
    ``trees`` the branches behind "equal" and behind "unequal" class margins, one tree a seed, by the kind
    of margins and the scheme of training.
    """

    number: int
    test: np.ndarray
    features: Features
    trees: dict[tuple[str, str], list[BranchTree]]
    cost: CostModel
    history: pd.DataFrame


def margin_kinds(parameters: BoostingParameters) -> dict[str, BoostingParameters]:
    """The parameters of boosting without and with margins of the classes."""
    return {EQUAL: parameters.model_copy(update={"class_margins": None}), UNEQUAL: parameters}


def weighted_by_cost(split: ImageSet, miss_cost: int) -> ImageSet:
    """Repeat each defective cell ``miss_cost`` times, and show every cell upside down as well.

    Repeating a class weights it in the loss, here by what its mistakes cost. A cell looks alike from
    both ends, so its mirror image is as good an example.
    """
    repeats = torch.where(split.labels == elpv.CLASSES.index("defective"), miss_cost, 1)
    images, labels = (each.repeat_interleave(repeats, 0) for each in (split.images, split.labels))
    return ImageSet(torch.cat([images, images.flip(2)]), torch.cat([labels, labels]))


def make_fold(cells: Cells, number: int, folds: int, miss_cost: int) -> Fold:
    """Train the backbone and all branches of a fold, or load them if they are there.

    Parameters
    ----------
    number : of the fold, 0, 1, ...
    folds : how many there are.
    miss_cost : how many false alarms a missed defect costs, and so how often a defective cell is shown.
    """
    data = params("data")
    fold = elpv.folds_of(cells, folds, data.seed)
    splits = elpv.split_fold(cells, fold, number, data.limit)
    splits = replace(splits, train=weighted_by_cost(splits.train, miss_cost))
    place = f"folds/fold_{number}"
    trained = _make_backbone(splits, place, fold=number, folds=folds, miss_cost=miss_cost)
    backbone = read_backbone(trained, splits, params("backbone"))
    stored = _make_features(backbone, splits, place)

    def tree(kind: str, scheme: str, parameters: BoostingParameters, seed: int) -> BranchTree:
        name = f"{place}/{kind}_{scheme}_{seed}"
        artefact = results.tree_artefact(name, scheme, seed, parameters, f"{place}/features")
        return results.ensure_tree(artefact, SCHEMES[scheme], lambda: stored, parameters)

    return Fold(
        number=number,
        test=elpv.positions_of(fold, number, data.limit)["test"],
        features=stored,
        trees={
            (kind, scheme): [tree(kind, scheme, parameters, seed) for seed in parameters.seeds]
            for kind, parameters in margin_kinds(params("boosting")).items()
            for scheme in TRAINED
        },
        cost=results.cost_model(backbone, stored, splits),
        history=pd.read_csv(trained / "history.csv"),
    )


def _make_backbone(splits: Splits, place: str, **dealt: int) -> Path:
    """Train the backbone of a fold into the folder that is returned, unless it is there."""

    def make(folder: Path) -> None:
        train_into(folder, splits, params("backbone"), iter, _new_fabric())

    # The digest of the images stands for the code that read them, dealt them and repeated some.
    made_from = backbone_fingerprint(params("backbone"), splits) | dealt
    return artefacts.ensure(f"{place}/backbone", made_from, make)


def _make_features(backbone: nn.Module, splits: Splits, place: str) -> Features:
    def make(folder: Path) -> None:
        set_up_torch(0)
        features.store_features(backbone, splits, folder, params("features"), fabric=_new_fabric())

    made_from = results.features_fingerprint(f"{place}/backbone")
    return features.load_features(artefacts.ensure(f"{place}/features", made_from, make))


def _new_fabric() -> "Fabric":
    compute = params("compute")
    return new_fabric(compute.precision, compute.processes)
