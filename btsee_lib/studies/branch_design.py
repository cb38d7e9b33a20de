"""Two studies of the branches, on the validation split: what they read and how wide, and how long to train."""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from btsee_lib.boosting import calibration_terms, who_remains
from btsee_lib.branches import Conv1dBranch, branch_logits, train_branch
from btsee_lib.compute import borrowed
from btsee_lib.cost import count_macs
from btsee_lib.data.splits import Splits
from btsee_lib.features import Features, Squeeze, walk_stages
from btsee_lib.fitting import CHOICE_SPLITS, Survivors, branch_seed, everyone, fit_exit, training_targets
from btsee_lib.parallel import exactly
from btsee_lib.schemes.scheme import PAPER_SCHEMES, Scheme

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters

WIDTHS = (16, 48, 96)
IMAGES = 20_000  # of train and of valid at most, for what only a study reads
CURVE = ["branch", "survivors", "training", "epochs", "valid_accuracy"]  # the columns of a learning curve
EFFORTS = (0.25, 0.5, 1, 2)  # times the visits that params.yaml asks for, and beyond where that helps
ENDS = (1 / 16, 8)


class StripBranch(nn.Module):
    """The rival: one 1-D convolution over the means of all rows, and of all columns, after Hou 2020.

    Strip pooling (arXiv 2003.13328) keeps the full height and the full width of a map, but not which row
    goes with which column. The parameters are those of ``Conv1dBranch``.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int, kernel_size: int):
        super().__init__()
        self.convolution = nn.Sequential(
            nn.Conv1d(in_channels, channels, kernel_size, stride=2, padding=kernel_size // 2, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        )
        self.classifier = nn.LazyLinear(num_classes)

    @staticmethod
    def squeeze(feature_map: Tensor) -> Tensor:
        """Average a map (N, C, H, W) with H = W over its width and over its height: (N, C, 2, H)."""
        return torch.stack([feature_map.mean(3), feature_map.mean(2)], dim=2)

    def forward(self, squeezed: Tensor) -> Tensor:
        """Return logits (N, K): the same filters go over both strips."""
        strips = squeezed.transpose(1, 2).flatten(0, 1)  # each a sample of its own
        return self.classifier(self.convolution(strips).reshape(len(squeezed), -1))


KINDS: dict[str, tuple[type[nn.Module], int]] = {
    "strips, kernel 5": (StripBranch, 5),
    "grid, kernel 3": (Conv1dBranch, 3),
    "grid, kernel 5": (Conv1dBranch, 5),
}


def branch_kind(
    kind: str,
    backbone: nn.Module,
    splits: Splits,
    features: Features,
    parameters: "BranchParameters",
    backbone_macs: int,
    seed: int,
) -> pd.DataFrame:
    """Train each branch in a kind, of the table ``KINDS``, at several widths, on the first images of ``train``.

    Returns
    -------
    DataFrame
        ``kind, branch, channels, macs, share`` (of the backbone's MACs), ``valid_accuracy``.
    """
    rows, valid = [], splits.valid.labels[:IMAGES]
    targets = training_targets(features["train"], parameters)[:IMAGES]
    branch_type, kernel_size = KINDS[kind]
    if branch_type is Conv1dBranch:
        read = [split.squeezed for split in (features["train"], features["valid"])]
    else:
        chosen = (splits.train.images[:IMAGES], splits.valid.images[:IMAGES])
        read = [squeezed_maps(backbone, splits, images, branch_type.squeeze) for images in chosen]
    for number, (seen, judged) in enumerate(zip(*read, strict=True), start=1):
        seen, judged = seen[:IMAGES], judged[:IMAGES]
        for channels in WIDTHS:
            torch.manual_seed(branch_seed(seed, number))
            branch = branch_type(seen.shape[1], len(splits.classes), channels, kernel_size)
            macs = count_macs(branch.eval(), seen[:1].float())
            train_branch(branch, seen, targets, parameters, branch_seed(seed, number))
            accuracy = float((branch_logits(branch, judged).argmax(1) == valid).double().mean())
            row = {"kind": kind, "branch": number, "channels": channels, "macs": macs}
            rows.append(row | {"share": macs / backbone_macs, "valid_accuracy": accuracy})
    return pd.DataFrame(rows)


def squeezed_maps(
    backbone: nn.Module, splits: Splits, images: Tensor, squeeze: Squeeze, batch_size: int = 500
) -> list[Tensor]:
    """What branches that squeeze like this read of raw images, float32, on the CPU, one a branch."""
    with borrowed(backbone) as device, exactly(1), torch.inference_mode():
        batches = [
            [each.cpu() for each in walk_stages(backbone, splits.normalise(batch.to(device)), squeeze)[0]]
            for batch in images.split(batch_size)
        ]
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def learning_curves(
    features: Features,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
) -> pd.DataFrame:
    """Train each branch by both schemes of the paper for fewer and more visits than ``params.yaml`` asks for.

    All branches of a number are judged on the same validation images: those that reach it behind
    boosted branches, calibrated with the margin in the middle of each list.

    Returns
    -------
    DataFrame
        ``branch, survivors`` (training images), ``training`` (the scheme), ``epochs`` (visits over all
        training images), ``valid_accuracy``. It ends at the first branch that too few images reach.
    """
    terms, labels = calibration_terms(features, boosting_parameters), features["valid"].labels
    survivors, parts = everyone(features), []
    for number, margins in enumerate(boosting_parameters.margins, start=1):
        curves = []
        for name, scheme in PAPER_SCHEMES.items():
            meets = survivors if scheme.sequential else everyone(features)
            others = (meets, branch_parameters, boosting_parameters, seed)
            after = cache(partial(_logits_after, number, scheme, features, *others))
            if after(1) is None:
                return pd.concat(parts) if parts else pd.DataFrame(columns=CURVE)
            curve = to_beyond_the_best(partial(_accuracy, after, labels, survivors["valid"]))
            row = {"branch": number, "survivors": int(survivors["train"].sum()), "training": name}
            curves.append(pd.DataFrame({**row, "epochs": curve.keys(), "valid_accuracy": curve.values()}))
            if scheme.sequential:
                passed_on = who_remains(after(1), survivors, labels, margins[len(margins) // 2], terms)
        survivors = passed_on
        parts += [each.assign(epochs=each["epochs"] * branch_parameters.epochs) for each in curves]
    return pd.concat(parts, ignore_index=True)


def _logits_after(
    number: int,
    scheme: Scheme,
    features: Features,
    meets: Survivors,
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    seed: int,
    effort: float,
) -> dict[str, Tensor] | None:
    """What a branch says after so many times the visits; None where too few images reach it."""
    longer = branch_parameters.model_copy(update={"epochs": effort * branch_parameters.epochs})
    fitted = fit_exit(number, scheme, features, meets, longer, boosting_parameters, seed)
    if fitted is None:
        return None
    return {
        split: branch_logits(fitted.branch, features[split].squeezed[number - 1]) for split in CHOICE_SPLITS
    }


def _accuracy(
    after: Callable[[float], dict[str, Tensor]], labels: Tensor, judged: Tensor, effort: float
) -> float:
    """Of the validation images judged, bool (N,), the share that is right after so many times the visits."""
    return float((after(effort)["valid"].argmax(1) == labels)[judged].double().mean())


def to_beyond_the_best(accuracy: Callable[[float], float]) -> dict[float, float]:
    """Ask for the accuracy after ``EFFORTS``, and on beyond the end that is the best, to ``ENDS`` at most."""
    curve = {effort: accuracy(effort) for effort in EFFORTS}
    while (best := max(curve, key=curve.get)) in (min(curve), max(curve)) and best not in ENDS:
        further = best / 2 if best == min(curve) else 2 * best
        curve[further] = accuracy(further)
    return dict(sorted(curve.items()))


def best_visits(curves: pd.DataFrame) -> pd.DataFrame:
    """Of ``learning_curves`` the rows of the most accurate number of visits, one a branch and scheme."""
    return curves.loc[curves.groupby(["branch", "training"], sort=False)["valid_accuracy"].idxmax()]
