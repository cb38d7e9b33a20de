"""Does training on survivors pay where more images survive? What it gains on parts of the training images."""

import pandas as pd
from scipy.stats import t

from btsee_lib.boosting import calibration_terms
from btsee_lib.config import BoostingParameters
from btsee_lib.features import Features
from btsee_lib.studies.survivors import survivors_of
from btsee_lib.trees import BranchTree, margin_columns, margin_names


def gains_on_same_images(
    trees: dict[int, tuple[BranchTree, BranchTree]], features: Features, parameters: BoostingParameters
) -> pd.DataFrame:
    """Compare both schemes of a seed, whatever they trained on, on the same test images, branch by branch.

    These are the images that reach a branch behind the boosted branches that were trained on most images.

    Parameters
    ----------
    trees : the independent and the boosted one, by the number of training images.

    Returns
    -------
    DataFrame
        ``train_images, seed, branch, m1, ..., train_survivors, closed, boosted_accuracy, independent_accuracy``
        and ``gain`` (points): a row a branch behind the first and number of training images.
    """
    rows, labels = [], features["test"].labels
    terms, most = calibration_terms(features, parameters), trees[max(trees)][1]
    for (number, margins), reached in survivors_of(most, features, parameters, terms).items():
        for images, (independent, boosted) in trees.items() if number > 1 else ():
            place, rival = boosted.position[number, margins], independent.position[number, ()]
            answers = (boosted.logits["test"][place], independent.logits["test"][rival])
            right = [float((each.argmax(1) == labels)[reached["test"]].double().mean()) for each in answers]
            row = {"train_images": images, "seed": most.seed, "branch": number, **margin_names(margins)}
            row |= boosted.nodes.loc[place, ["train_survivors", "closed"]].to_dict()
            row["boosted_accuracy"], row["independent_accuracy"] = right
            rows.append(row | {"gain": 100 * (right[0] - right[1])})
    return pd.DataFrame(rows)


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Gains by ``branch, seed`` (rows) and ``train_images`` (columns), the mean over margins.

    Margins behind which a branch is closed with any seed or number of images are left out for all.
    """
    groups = table.groupby(["branch", *margin_columns(table)], dropna=False)
    always = table[~groups["closed"].transform("any")]
    return always.pivot_table(index=["branch", "seed"], columns="train_images", values="gain")


def over_seeds(gains: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean over seeds: ``branch, train_images, gain, low, high``, the interval by Student's t."""
    groups = gains.groupby("branch")
    found, number = groups.mean(), groups.size()
    reach = groups.std().mul(t.ppf((1 + confidence) / 2, number - 1) / number**0.5, axis=0)
    ends = {"gain": found, "low": found - reach, "high": found + reach}
    return pd.concat({name: each.stack() for name, each in ends.items()}, axis=1).reset_index()
