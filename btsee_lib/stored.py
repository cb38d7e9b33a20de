"""The three results that take long: the backbone, its features, the trained cascades.

The notebook that teaches one of them makes it (``make_...``, which does nothing if it is there
already), the later ones load it (``load_...``, which stops with a clear error if it is not).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import pandas as pd
import torch
from torch import Tensor

from btsee_lib import artefacts, boosting, branches, calibration, data, fashion_mnist, studies
from btsee_lib import backbone as backbone_module
from btsee_lib import features as features_module
from btsee_lib.backbone import StagedResNet18, train_backbone
from btsee_lib.config import Backbone as BackboneParameters
from btsee_lib.config import params, set_up_torch
from btsee_lib.cost import CostModel
from btsee_lib.data import Splits
from btsee_lib.features import SplitFeatures, load_features, store_features

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
    return data.load_splits(wanted.name, seed=wanted.seed, limit=wanted.limit)


def make_backbone(splits: Splits, progress: Progress = iter) -> tuple[StagedResNet18, pd.DataFrame]:
    """Train the backbone, or load it if it has been trained from just this.

    Returns
    -------
    backbone : frozen, in evaluation mode.
    history : one row an epoch, see ``train_backbone``.
    """

    def make(folder: Path) -> None:
        wanted = params("backbone")
        device = set_up_torch(wanted.seed)
        network = new_backbone(splits, wanted).to(device)
        history = train_backbone(network, splits, wanted, progress)
        artefacts.save_tensors(folder / "backbone.pt", network.cpu().state_dict())
        history.to_csv(folder / "history.csv", index=False)

    return _read_backbone(artefacts.ensure("backbone", backbone_fingerprint(params("backbone")), make), splits)


def load_backbone(splits: Splits) -> tuple[StagedResNet18, pd.DataFrame]:
    """Load the backbone that notebook 02 trained."""
    return _read_backbone(
        artefacts.require("backbone", backbone_fingerprint(params("backbone")), "backbone"), splits
    )


def make_features(
    backbone: StagedResNet18, splits: Splits, progress: Progress = iter
) -> dict[str, SplitFeatures]:
    """Store what the branches read of every image, or map it into memory if it is stored."""

    def make(folder: Path) -> None:
        backbone.to(set_up_torch(0))
        store_features(backbone, splits, folder, params("features").batch_size, progress)
        backbone.cpu()

    return load_features(artefacts.ensure("features", _features_fingerprint(), make))


def load_stored_features() -> dict[str, SplitFeatures]:
    """Map the features that notebook 02 stored into memory."""
    return load_features(artefacts.require("features", _features_fingerprint(), "backbone"))


def make_cascades(features: dict[str, SplitFeatures], progress: Progress = iter) -> list[SeedBranches]:
    """Train the branches of all configurations and seeds, or load them if they are there."""
    seeds = params("boosting").seeds

    def make_seed(seed: int) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            set_up_torch(seed)
            arguments = (features, params("branches"), params("boosting"), seed)
            trained = [*boosting.train_independent(*arguments), *boosting.train_boosted_tree(*arguments)]
            _write_branches(folder, trained)

        return make

    return [
        _read_branches(artefacts.ensure(_seed_name(seed), _cascades_fingerprint(seed), make_seed(seed)), seed)
        for seed in progress(seeds)
    ]


def load_cascades() -> list[SeedBranches]:
    """Load the branches that notebook 03 trained, one entry a seed."""
    return [
        _read_branches(
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


def backbone_fingerprint(wanted: BackboneParameters) -> dict:
    """Describe what a backbone of these parameters is made from."""
    return artefacts.fingerprint([params("data"), wanted], [data, fashion_mnist, backbone_module])


def _features_fingerprint() -> dict:
    return artefacts.fingerprint([params("features")], [features_module], ["backbone"])


def _cascades_fingerprint(seed: int, *more: ModuleType) -> dict:
    # Only this seed: adding one to the list must not train the others again.
    limits = params("boosting").model_copy(update={"seeds": [seed]})
    return artefacts.fingerprint(
        [params("branches"), limits], [branches, calibration, boosting, *more], ["features"]
    )


def new_backbone(splits: Splits, wanted: BackboneParameters) -> StagedResNet18:
    """Build an untrained backbone for the images and classes of a data set."""
    return StagedResNet18(
        num_classes=len(splits.classes),
        in_channels=splits.train.images.shape[1],
        width=wanted.width,
        stem=wanted.stem,
    )


def read_backbone(folder: Path, splits: Splits, wanted: BackboneParameters) -> StagedResNet18:
    """Read a backbone that lies in the folder of its artefact: frozen, in evaluation mode."""
    network = new_backbone(splits, wanted)
    network.load_state_dict(artefacts.load_tensors(folder / "backbone.pt"))
    return network.requires_grad_(False).eval()


def _read_backbone(folder: Path, splits: Splits) -> tuple[StagedResNet18, pd.DataFrame]:
    return read_backbone(folder, splits, params("backbone")), pd.read_csv(folder / "history.csv")


def _write_branches(folder: Path, trained: list[boosting.TrainedBranch]) -> None:
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


def _read_branches(folder: Path, seed: int) -> SeedBranches:
    states = artefacts.load_tensors(folder / "branches.pt")
    return SeedBranches(
        seed=seed,
        nodes=pd.read_csv(folder / "nodes.csv"),
        logits=artefacts.load_tensors(folder / "logits.pt"),
        states=[states[str(position)] for position in range(len(states))],
    )
