"""Cross-validation over solar modules: for each fold a backbone, its features and its branches.

One test split, 500 cells of nine modules, says little. With every fold the test split once, each
cell is judged once, by networks that never saw its module. What takes long is kept by fold and seed,
with a fingerprint, as in ``stored``.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from btsee_lib import augmentation, boosting, branches, calibration, training
from btsee_lib.store import artefacts
from btsee_lib.store import backbone_artefact
from btsee_lib.data import elpv
from btsee_lib.store import results as stored
from btsee_lib import backbone as backbone_module
from btsee_lib import features as features_module
from btsee_lib.data import splits as splits_module
from btsee_lib.boosting import Features
from btsee_lib.compute import new_fabric
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.config import params, set_up_torch
from btsee_lib.cost import CostModel
from btsee_lib.data.elpv import Cells
from btsee_lib.data.splits import ImageSet, Splits
from btsee_lib.store.results import SeedBranches

EQUAL, UNEQUAL = "equal", "unequal"


@dataclass(frozen=True)
class Fold:
    """One fold, trained.

    ``test`` holds the positions of its test cells, int64 (N,), in the order of ``features["test"]``;
    ``cascades`` the branches behind "equal" and behind "unequal" class margins, one entry a seed.
    """

    number: int
    test: np.ndarray
    features: Features
    cascades: dict[str, list[SeedBranches]]
    cost: CostModel
    history: pd.DataFrame


def margin_kinds() -> dict[str, BoostingParameters]:
    """The parameters of boosting without and with margins of the classes."""
    limits = params("boosting")
    return {EQUAL: limits.model_copy(update={"class_margins": None}), UNEQUAL: limits}


def weighted_by_cost(split: ImageSet, miss_cost: int) -> ImageSet:
    """Repeat each defective cell ``miss_cost`` times, and show every cell upside down as well.

    Repeating a class weights it in the loss, here by what its mistakes cost. A cell looks alike from
    both ends, so its mirror image is as good an example.
    """
    repeats = torch.where(split.labels == elpv.CLASSES.index("defective"), miss_cost, 1)
    images, labels = (each.repeat_interleave(repeats, 0) for each in (split.images, split.labels))
    return ImageSet(torch.cat([images, images.flip(2)]), torch.cat([labels, labels]))


def make_fold(cells: Cells, number: int, progress: Callable = iter) -> Fold:
    """Train the backbone and all branches of a fold, or load them if they are there."""
    dealt, wanted = params("data"), params("inspection")
    fold = elpv.folds_of(cells, wanted.folds, dealt.seed)
    splits = elpv.split_fold(cells, fold, number, dealt.limit)
    trained_on = replace(splits, train=weighted_by_cost(splits.train, wanted.miss_cost))
    name = f"folds/fold_{number}/network"
    folder = artefacts.ensure(name, _network_fingerprint(number), lambda to: _train_network(to, trained_on))
    features = features_module.load_features(folder)
    backbone = backbone_artefact.read_backbone(folder, splits, params("backbone"))
    cascades = {
        kind: [_make_branches(features, number, kind, limits, seed) for seed in progress(limits.seeds)]
        for kind, limits in margin_kinds().items()
    }
    return Fold(
        number=number,
        test=elpv.positions_of(fold, number, dealt.limit)["test"],
        features=features,
        cascades=cascades,
        cost=stored.cost_model(backbone, features, splits),
        history=pd.read_csv(folder / "history.csv"),
    )


def _train_network(folder: Path, splits: Splits) -> None:
    wanted = params("backbone")
    fabric = new_fabric(params("compute"))
    backbone_artefact.train_into(folder, splits, wanted, iter, fabric)
    network = backbone_artefact.read_backbone(folder, splits, wanted)
    features_module.store_features(network, splits, folder, params("features"), fabric=fabric)


def _make_branches(
    features: Features, number: int, kind: str, limits: BoostingParameters, seed: int
) -> SeedBranches:
    def make(folder: Path) -> None:
        set_up_torch(seed)
        arguments = (features, params("branches"), limits, seed)
        trained = [*boosting.train_independent(*arguments), *boosting.train_boosted_tree(*arguments)]
        stored.write_branches(folder, trained)

    only_this = limits.model_copy(update={"seeds": [seed]})
    expected = artefacts.fingerprint(
        [params("branches"), only_this],
        [branches, calibration, boosting],
        [f"folds/fold_{number}/network"],
    )
    name = f"folds/fold_{number}/{kind}_{seed}"
    return stored.read_branches(artefacts.ensure(name, expected, make), seed)


def _network_fingerprint(number: int) -> dict:
    sections = [params(name) for name in ("data", "compute", "backbone", "features", "inspection")]
    made_by = [splits_module, elpv, sys.modules[__name__], backbone_module, augmentation, training]
    return artefacts.fingerprint(sections, [*made_by, features_module]) | {"fold": number}
