"""The three results that take long: the backbone, its features, the trained cascades.

The notebook that teaches one of them makes it (``make_...``, which does nothing if it is there
already), the later ones load it (``load_...``, which stops with a clear error if it is not).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from btsee_lib import boosting, branches, calibration, data
from btsee_lib.store import artefacts
from btsee_lib.studies import branch_design as studies
from btsee_lib import features as features_module
from btsee_lib.backbone import StagedResNet18
from btsee_lib.store.backbone_artefact import (
    backbone_fingerprint,
    checkpoint_of,
    ensure_in_processes,
    read_backbone,
    train_into,
)
from btsee_lib.compute import new_fabric
from btsee_lib.config import compute_device, params, repository_root, set_up_torch
from btsee_lib.cost import CostModel
from btsee_lib.features import SplitFeatures, load_features, on_device_if_it_fits, store_features
from btsee_lib.data.splits import Splits

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Progress = Callable


@dataclass(frozen=True)
class SeedBranches:
    """All branches trained from one seed.

    ``nodes``: one row a branch (``training, branch, m1, m2, train_survivors, valid_survivors,
    closed``); ``logits``: for valid and test, float32 (nodes, N, K); ``states``: their weights.
    """

    seed: int
    nodes: pd.DataFrame
    logits: dict[str, Tensor]
    states: list[dict[str, Tensor]]

    def rows(self, training: str, margins: tuple[float, ...]) -> list[int]:
        """Return the positions of the branches of a configuration, first branch first."""
        if training == "independent":
            return self.independent_rows()
        position = self._position
        return [position[margins[:before]] for before in range(len(margins))]

    def independent_rows(self) -> list[int]:
        """Return the positions of the independent branches, first branch first."""
        return list(self.nodes.index[self.nodes["training"] == "independent"])

    @cached_property
    def _position(self) -> dict[tuple[float, ...], int]:
        """Where the boosted branch behind given margins stands."""
        boosted = self.nodes[self.nodes["training"] == "boosted"]
        margins = boosted[[name for name in boosted.columns if name in ("m1", "m2")]]
        return {tuple(row.dropna()): position for position, row in margins.iterrows()}


def load_data() -> Splits:
    """Load the data set that ``params.yaml`` names."""
    wanted = params("data")
    path = None if wanted.path is None else repository_root() / Path(wanted.path).expanduser()
    return data.load_splits(
        wanted.name,
        seed=wanted.seed,
        limit=wanted.limit,
        path=path,
        image_size=wanted.image_size,
        mirrors=wanted.mirrors,
        drop_test_duplicates=wanted.drop_test_duplicates,
    )


def make_backbone(splits: Splits, progress: Progress = iter) -> tuple[StagedResNet18, pd.DataFrame]:
    """Train the backbone, or load it if it has been trained from just this.

    Returns
    -------
    backbone : frozen, in evaluation mode.
    history : one row an epoch, see ``train_backbone``.
    """
    wanted = params("backbone")
    expected = backbone_fingerprint(wanted, splits)
    checkpoint = checkpoint_of("backbone", expected)

    def make(folder: Path, fabric: "Fabric") -> None:
        train_into(folder, splits, wanted, progress, fabric, checkpoint)

    folder = ensure_in_processes("backbone", expected, make)
    checkpoint.remove()
    return _read_backbone(folder, splits)


def load_backbone(splits: Splits) -> tuple[StagedResNet18, pd.DataFrame]:
    """Load the backbone that notebook 02 trained."""
    expected = backbone_fingerprint(params("backbone"), splits)
    return _read_backbone(artefacts.require("backbone", expected, "backbone"), splits)


def make_features(
    backbone: StagedResNet18, splits: Splits, progress: Progress = iter
) -> dict[str, SplitFeatures]:
    """Store what the branches read of every image, or map it into memory if it is stored."""

    def make(folder: Path, fabric: "Fabric") -> None:
        set_up_torch(0)
        store_features(backbone, splits, folder, params("features"), progress, fabric)

    return load_features(ensure_in_processes("features", _features_fingerprint(), make))


def load_stored_features() -> dict[str, SplitFeatures]:
    """Map the features that notebook 02 stored into memory."""
    return load_features(artefacts.require("features", _features_fingerprint(), "backbone"))


def make_backbone_and_features(progress: Progress) -> None:
    """Make both, as one of the processes that ``torchrun`` started, or alone."""
    with new_fabric(params("compute")).rank_zero_first():  # two at once would get into each other's way
        splits = load_data()
    backbone, _ = make_backbone(splits, progress)
    make_features(backbone, splits, progress)


def make_cascades(features: dict[str, SplitFeatures], progress: Progress = iter) -> list[SeedBranches]:
    """Train the branches of all configurations and seeds, or load them if they are there."""
    seeds = params("boosting").seeds
    near = cache(lambda: on_device_if_it_fits(features, compute_device()))  # once, and only if need be

    def make_seed(seed: int) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            set_up_torch(seed)
            arguments = (near(), params("branches"), params("boosting"), seed)
            trained = [*boosting.train_independent(*arguments), *boosting.train_boosted_tree(*arguments)]
            write_branches(folder, trained)

        return make

    return [
        read_branches(artefacts.ensure(_seed_name(seed), _cascades_fingerprint(seed), make_seed(seed)), seed)
        for seed in progress(seeds)
    ]


def load_cascades() -> list[SeedBranches]:
    """Load the branches that notebook 03 trained, one entry a seed."""
    return [
        read_branches(
            artefacts.require(_seed_name(seed), _cascades_fingerprint(seed), "boosted_branches"), seed
        )
        for seed in params("boosting").seeds
    ]


def make_studies(
    features: dict[str, SplitFeatures], cost: CostModel, progress: Progress = iter
) -> dict[str, pd.DataFrame]:
    """Run the two studies of ``studies``, or load their tables if they are there."""
    seed = params("boosting").seeds[0]
    margins = params("boosting").margins[0]

    def make(folder: Path) -> None:
        set_up_torch(seed)
        wanted, limits = params("branches"), params("boosting")
        studies.branch_width(features, wanted, cost.backbone, seed, progress).to_csv(
            folder / "branch_width.csv", index=False
        )
        first = boosting.fit_branch(1, features, boosting.everyone(features), wanted, limits, seed)
        logits = {
            name: branches.branch_logits(first, features[name].squeezed[0]) for name in ("train", "valid")
        }
        studies.training_effort(features, wanted, limits, logits, seed, margins).to_csv(
            folder / "training_effort.csv", index=False
        )

    folder = artefacts.ensure("studies", _cascades_fingerprint(seed, studies), make)
    return {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}


def cost_model(backbone: StagedResNet18, features: dict[str, SplitFeatures], splits: Splits) -> CostModel:
    """Measure the MACs of the backbone's stages and of its branches on one image."""
    numbers = range(1, len(features["train"].squeezed) + 1)
    heads = [boosting.new_branch(number, features, params("branches"), 0).eval() for number in numbers]
    return CostModel.measure(backbone, heads, splits.test.images.shape[1:])


def _seed_name(seed: int) -> str:
    return f"cascades/seed_{seed}"


def _features_fingerprint() -> dict:
    return artefacts.fingerprint([params("compute"), params("features")], [features_module], ["backbone"])


def _cascades_fingerprint(seed: int, *more: ModuleType) -> dict:
    # Only this seed: adding one to the list must not train the others again.
    limits = params("boosting").model_copy(update={"seeds": [seed]})
    return artefacts.fingerprint(
        [params("branches"), limits], [branches, calibration, boosting, *more], ["features"]
    )


def _read_backbone(folder: Path, splits: Splits) -> tuple[StagedResNet18, pd.DataFrame]:
    return read_backbone(folder, splits, params("backbone")), pd.read_csv(folder / "history.csv")


def write_branches(folder: Path, trained: list[boosting.TrainedBranch]) -> None:
    """Write the branches of one seed: ``nodes.csv``, ``logits.pt`` and ``branches.pt``."""
    rows = []
    for each in trained:
        margins = {f"m{number}": margin for number, margin in enumerate(each.margins, start=1)}
        counts = {"train_survivors": each.train_survivors, "valid_survivors": each.valid_survivors}
        rows.append(
            {"training": each.training, "branch": each.branch, **margins, **counts, "closed": each.closed}
        )
    pd.DataFrame(rows).to_csv(folder / "nodes.csv", index=False)
    logits = {name: torch.stack([each.logits[name] for each in trained]) for name in ("valid", "test")}
    artefacts.save_tensors(folder / "logits.pt", logits)
    states = {str(position): each.state for position, each in enumerate(trained)}
    artefacts.save_tensors(folder / "branches.pt", states)


def read_branches(folder: Path, seed: int) -> SeedBranches:
    """Read what ``write_branches`` wrote."""
    states = artefacts.load_tensors(folder / "branches.pt")
    return SeedBranches(
        seed=seed,
        nodes=pd.read_csv(folder / "nodes.csv"),
        logits=artefacts.load_tensors(folder / "logits.pt"),
        states=[states[str(position)] for position in range(len(states))],
    )
