"""What cascades decide, image by image: their answers, their exits and what these cost."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, bincount

from btsee_lib.cascade import Exits, simulate
from btsee_lib.cost import CostModel
from btsee_lib.features import Features, SplitFeatures

# By split: how sure branches are and the class that they name, (B, N) each.
Outputs = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SplitResult:
    """One cascade on one split: its exits, and image by image whether it is right and what it costs."""

    exits: Exits
    correct: Tensor
    cost: Tensor
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
        cost=cost.by_exit(thresholds)[exits.exit].float(),
        reduction=cost.reduction(exits.exit, thresholds),
        backbone_accuracy=float((split.predicted == split.labels).double().mean()),
        number_of_exits=len(cost.stages),
    )


@dataclass(frozen=True)
class Decisions:
    """What every configuration decided on the test split.

    ``table`` has one row a seed x training x calibration x configuration; ``correct`` bool (R, N)
    and ``cost`` float32 (R, N) say of its row image by image whether it is right and what it costs;
    ``backbone_correct`` bool (N,); ``backbone_cost`` what the bare backbone costs.
    """

    table: pd.DataFrame
    correct: np.ndarray
    cost: np.ndarray
    backbone_correct: np.ndarray
    backbone_cost: float


class Tally:
    """Runs cascades over ``valid`` and ``test``, one after the other, and collects what they decide."""

    def __init__(self, features: Features, cost: CostModel):
        self.features, self.cost = features, cost
        self.rows, self.correct, self.spent = [], [], []

    def add(self, names: dict, outputs: Outputs, thresholds: Tensor) -> None:
        """Run one cascade.

        Parameters
        ----------
        names : what tells the cascade from others, the first columns of its row.
        outputs : of the branches, for valid and test.
        thresholds : (B, K).
        """
        result = {
            name: run_simulation(*outputs[name], self.features[name], thresholds, self.cost)
            for name in ("valid", "test")
        }
        chosen_by = result["valid"].summary()
        self.rows.append(
            names
            | result["test"].summary()
            | {"valid_drop": chosen_by["drop"], "valid_reduction": chosen_by["reduction"]}
        )
        self.correct.append(result["test"].correct.numpy())
        self.spent.append(result["test"].cost.numpy())

    def decisions(self) -> Decisions:
        """Return all that was collected."""
        test = self.features["test"]
        return Decisions(
            table=pd.DataFrame(self.rows),
            correct=np.stack(self.correct),
            cost=np.stack(self.spent),
            backbone_correct=(test.predicted == test.labels).numpy(),
            backbone_cost=self.cost.backbone,
        )
