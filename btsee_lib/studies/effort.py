"""How accurate do branches of a scheme become with fewer visits? And the rungs that schemes train behind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from btsee_lib.boosting import train_tree

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters
    from btsee_lib.features import Features
    from btsee_lib.schemes import Scheme

EFFORTS = (0.25, 0.5, 1.0)  # times the visits that params.yaml asks for


def rungs(parameters: "BoostingParameters") -> list[tuple[float, ...]]:
    """Configurations down the lists of margins together, each with all margins of the last list.

    Of the lists before it the first, the middle and the last margins are taken: strict, middling, loose.
    """
    *before, last = parameters.margins
    steps = [tuple(margins[round(part * (len(margins) - 1))] for margins in before) for part in (0, 0.5, 1)]
    return [(*rung, margin) for rung in dict.fromkeys(steps) for margin in last]


def middle_rung(parameters: "BoostingParameters") -> tuple[float, ...]:
    """Return the configuration in the middle of the rungs."""
    return rungs(parameters)[len(rungs(parameters)) // 2]


def accuracy_by_effort(
    name: str,
    scheme: "Scheme",
    features: "Features",
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    met: Sequence[np.ndarray],
    seed: int,
    efforts: Sequence[float] = EFFORTS,
) -> pd.DataFrame:
    """Accuracy of each branch of a scheme, on the validation images that it meets, after fewer visits.

    Parameters
    ----------
    name : of the scheme.
    met : for each branch bool (N,), the validation images on which all schemes are compared.

    Returns
    -------
    DataFrame
        ``training, branch, epochs, valid_accuracy``; a branch that is closed has no row.
    """
    labels, rows = features["valid"].labels, []
    for effort in efforts:
        epochs = effort * branch_parameters.epochs
        shorter = branch_parameters.model_copy(update={"epochs": epochs})
        arguments = (scheme, features, shorter, boosting_parameters, seed)
        for each in train_tree(*arguments, chosen=[middle_rung(boosting_parameters)]):
            if not each.closed:
                right = (each.logits["valid"].argmax(1) == labels)[met[each.branch - 1]]
                row = {"training": name, "branch": each.branch, "epochs": epochs}
                rows.append(row | {"valid_accuracy": float(right.double().mean())})
    return pd.DataFrame(rows, columns=["training", "branch", "epochs", "valid_accuracy"])
