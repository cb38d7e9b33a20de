"""What cascades decide, image by image: their verdicts, their exits and what these cost."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, bincount

from btsee_lib.boosting import Features
from btsee_lib.cascade import Exits, simulate
from btsee_lib.cost import CostModel
from btsee_lib.features import SplitFeatures


@dataclass(frozen=True)
class SplitResult:
    """One cascade on one split: its exits, and what follows from them image by image."""

    exits: Exits
    correct: Tensor
    macs: Tensor
    reduction: float
    backbone_accuracy: float
    number_of_exits: int

    def summary(self) -> dict[str, float]:
        """``accuracy`` (share), ``drop`` (points), ``reduction`` (share), ``exit1`` ... (shares)."""
        accuracy = float(self.correct.double().mean())
        shares = bincount(self.exits.exit, minlength=self.number_of_exits).double() / len(self.exits.exit)
        return {
            "accuracy": accuracy,
            "drop": 100 * (self.backbone_accuracy - accuracy),
            "reduction": self.reduction,
            **{f"exit{number}": float(share) for number, share in enumerate(shares, start=1)},
        }


def run_simulation(
    confidence: Tensor, predicted: Tensor, split: SplitFeatures, thresholds: Tensor, cost: CostModel
) -> SplitResult:
    """Simulate a cascade with thresholds (B, K) on stored features of a split."""
    exits = simulate(confidence, predicted, split.predicted, thresholds)
    return SplitResult(
        exits=exits,
        correct=exits.label == split.labels,
        macs=cost.exit_macs(thresholds)[exits.exit].float(),
        reduction=cost.reduction(exits.exit, thresholds),
        backbone_accuracy=float((split.predicted == split.labels).double().mean()),
        number_of_exits=len(cost.stages),
    )


@dataclass(frozen=True)
class Decisions:
    """What every configuration decided on the test split.

    ``table`` has one row a seed x training x calibration x configuration; ``correct`` bool (R, N)
    and ``macs`` float32 (R, N) hold its row's verdict and cost image by image;
    ``backbone_correct`` bool (N,); ``backbone_macs`` the MACs of the bare backbone.
    """

    table: pd.DataFrame
    correct: np.ndarray
    macs: np.ndarray
    backbone_correct: np.ndarray
    backbone_macs: int


class Tally:
    """Runs cascades over ``valid`` and ``test``, one after the other, and collects what they decide."""

    def __init__(self, features: Features, cost: CostModel):
        self.features, self.cost = features, cost
        self.rows, self.correct, self.macs = [], [], []

    def add(self, names: dict, said: dict[str, tuple[Tensor, Tensor]], thresholds: Tensor) -> None:
        """Run one cascade.

        Parameters
        ----------
        names : what tells the cascade from others, the first columns of its row.
        said : for valid and test, what the branches say: confidence and class, (B, N) each.
        thresholds : (B, K).
        """
        result = {
            name: run_simulation(*said[name], self.features[name], thresholds, self.cost)
            for name in ("valid", "test")
        }
        chosen_by = result["valid"].summary()
        self.rows.append(
            names
            | result["test"].summary()
            | {"valid_drop": chosen_by["drop"], "valid_reduction": chosen_by["reduction"]}
        )
        self.correct.append(result["test"].correct.numpy())
        self.macs.append(result["test"].macs.numpy())

    def decisions(self) -> Decisions:
        """Return all that was collected."""
        test = self.features["test"]
        return Decisions(
            table=pd.DataFrame(self.rows),
            correct=np.stack(self.correct),
            macs=np.stack(self.macs),
            backbone_correct=(test.predicted == test.labels).numpy(),
            backbone_macs=self.cost.backbone,
        )
