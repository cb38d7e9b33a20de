"""How accurate do branches of a scheme become with fewer visits? And the rungs that schemes train behind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from btsee_lib.boosting import train_tree
from btsee_lib.trees import BranchTree, tree_of

if TYPE_CHECKING:
    from btsee_lib.config import BoostingParameters, BranchParameters
    from btsee_lib.features import Features
    from btsee_lib.schemes import Scheme

EFFORTS = (0.25, 0.5)  # times the visits that params.yaml asks for; a tree has all of them


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
    scheme: "Scheme",
    tree: BranchTree,
    features: "Features",
    branch_parameters: "BranchParameters",
    boosting_parameters: "BoostingParameters",
    met: Sequence[np.ndarray],
    efforts: Sequence[float] = EFFORTS,
) -> pd.DataFrame:
    """Accuracy of each branch of a scheme, on the validation images that it meets, after fewer visits.

    Parameters
    ----------
    tree : of the scheme, after all visits, with the branches behind the middle rung.
    met : for each branch bool (N,), the validation images on which all schemes are compared.

    Returns
    -------
    DataFrame
        ``training, branch, epochs, valid_accuracy``; a branch that is closed has no row.
    """
    middle, labels = middle_rung(boosting_parameters), features["valid"].labels
    trees = []
    for effort in efforts:
        shorter = branch_parameters.model_copy(update={"epochs": effort * branch_parameters.epochs})
        trained = train_tree(scheme, features, shorter, boosting_parameters, tree.seed, chosen=[middle])
        trees.append((shorter.epochs, tree_of(tree.scheme, tree.seed, list(trained))))
    rows = []
    for epochs, each in [*trees, (float(branch_parameters.epochs), tree)]:
        for number, row in enumerate(each.rows(middle), start=1):
            if not each.nodes["closed"].iloc[row]:
                right = (each.logits["valid"][row].argmax(1) == labels)[met[number - 1]]
                accuracy = {"epochs": epochs, "valid_accuracy": float(right.double().mean())}
                rows.append({"training": tree.scheme, "branch": number} | accuracy)
    return pd.DataFrame(rows, columns=["training", "branch", "epochs", "valid_accuracy"])
