"""Does training on survivors pay where more images survive? What it gains on parts of the training images."""

import numpy as np
import pandas as pd
from scipy.stats import t

from btsee_lib.studies.survivors import TrainingGains


def gains_by_part(gains: dict[int, TrainingGains]) -> pd.DataFrame:
    """What boosting gains, by the number of training images: ``train_images, branch, train_survivors, gain``.

    ``gain`` (points, with ``low`` and ``high``, of test images) is that of ``TrainingGains.by_branch``,
    ``train_survivors`` the mean over the branches of a number.
    """
    parts = []
    for images, each in gains.items():
        survivors = each.table.groupby("branch")["train_survivors"].mean()
        by_branch = each.by_branch().loc[survivors.index].rename_axis("branch").reset_index()
        by_branch.insert(1, "train_survivors", survivors.to_numpy())
        parts.append(by_branch.assign(train_images=images))
    return pd.concat(parts, ignore_index=True)


def gains_by_seed(gains: dict[int, TrainingGains]) -> pd.DataFrame:
    """The same a seed, without interval: the mean over the test images that branches of a number meet."""
    every = pd.concat([each.table.assign(train_images=images) for images, each in gains.items()])
    every["gained"] = every["gain"] * every["test_survivors"]
    sums = every.groupby(["train_images", "branch", "seed"])[["gained", "test_survivors"]].sum()
    return (sums["gained"] / sums["test_survivors"]).rename("gain").reset_index()


def expected_gains(by_seed: pd.DataFrame, train_images: int, confidence: float) -> pd.DataFrame:
    """What more training images bring if each doubling changes the gain as the last one did.

    Parameters
    ----------
    by_seed : of one experiment, see ``gains_by_seed``.
    confidence : of the interval over seeds, by Student's t; whether the change goes on it does not know.

    Returns
    -------
    DataFrame
        ``branch, gain, low, high``: points.
    """
    *_, before, last = sorted(by_seed["train_images"].unique())
    gains = by_seed.pivot(index=["branch", "seed"], columns="train_images", values="gain")
    slope = (gains[last] - gains[before]) / np.log2(last / before)
    further = (gains[last] + np.log2(train_images / last) * slope).groupby("branch")
    found, number = further.mean(), further.size()
    reach = further.std() / number**0.5 * t.ppf((1 + confidence) / 2, number - 1)
    return pd.DataFrame({"gain": found, "low": found - reach, "high": found + reach}).reset_index()
