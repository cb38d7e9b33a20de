"""Does training on survivors pay where more images survive? What it gains on parts of the training images."""

import pandas as pd

from btsee_lib.boosting import calibration_terms
from btsee_lib.config import BoostingParameters
from btsee_lib.features import Features
from btsee_lib.studies.survivors import beside, survivors_of
from btsee_lib.trees import BranchTree, margin_columns
from btsee_lib.uncertainty import mean_interval


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
        ``train_images`` and the columns of ``survivors.training_gains``, with ``closed``: a row a branch behind
        the first and number of training images.
    """
    rows, labels = [], features["test"].labels
    terms, most = calibration_terms(features, parameters), trees[max(trees)][1]
    for (number, margins), reached in survivors_of(most, features, parameters, terms).items():
        for images, (independent, boosted) in trees.items() if number > 1 else ():
            row, _ = beside(boosted, independent, number, margins, reached["test"], labels)
            rows.append({"train_images": images} | row)
    return pd.DataFrame(rows)


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Gains by ``branch, seed`` (rows) and ``train_images`` (columns), the mean over margins.

    Margins behind which a branch is closed with any seed or number of images are left out for all.
    """
    groups = table.groupby(["branch", *margin_columns(table)], dropna=False)
    always = table[~groups["closed"].transform("any")]
    return always.pivot_table(index=["branch", "seed"], columns="train_images", values="gain")


def change_to_most(gains: pd.DataFrame) -> pd.DataFrame:
    """How the gain of a seed (``by_seed``) changes from fewer images, a column each, to most of them."""
    *fewer, most = gains.columns
    return -gains[fewer].sub(gains[most], axis=0)


def over_seeds(gains: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean over seeds: ``branch, train_images, gain, low, high``, the interval by Student's t."""
    found = zip(("gain", "low", "high"), mean_interval(gains.groupby("branch"), confidence), strict=True)
    return pd.concat({name: each.stack() for name, each in found}, axis=1).reset_index()
