"""Would a random split leak? What neighbours, a simple classifier and the module alone give away."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC
from torch.nn import functional

from solar_cells.elpv import Cells, folds_of

PIXELS = 16  # a side, of the copies that are compared
AT_RANDOM, BY_MODULE = "at random", "by module"


def random_folds(cells: Cells, folds: int, seed: int) -> np.ndarray:
    """Deal cells, not modules, into folds of about equal class shares: int64 (N,)."""
    fold = np.empty(len(cells.labels), dtype=np.int64)
    dealer = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(dealer.split(fold, cells.labels)):
        fold[held_out] = number
    return fold


def by_split(cells: Cells, dealt: dict[str, np.ndarray]) -> pd.DataFrame:
    """Test a simple classifier, a support vector machine on small copies, on each fold of each way of dealing.

    Parameters
    ----------
    dealt : folds (N,) by the name of the split.

    Returns
    -------
    DataFrame
        ``split, fold, accuracy, balanced_accuracy``, ``same_module`` (share of the tested cells whose
        nearest training cell is of the same module) and ``majority`` (accuracy of "always functional").
    """
    small = functional.adaptive_avg_pool2d(cells.images.float(), PIXELS).flatten(1).numpy()
    rows = []
    for split, fold in dealt.items():
        for number in np.unique(fold):
            tested, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            simple = SVC(class_weight="balanced").fit(small[others], cells.labels[others])
            predicted = simple.predict(small[tested])
            place = NearestNeighbors(n_neighbors=1).fit(small[others]).kneighbors(small[tested])[1][:, 0]
            rows.append(
                {
                    "split": split,
                    "fold": int(number),
                    "accuracy": (predicted == cells.labels[tested]).mean(),
                    "balanced_accuracy": balanced_accuracy_score(cells.labels[tested], predicted),
                    "same_module": (cells.module[others[place]] == cells.module[tested]).mean(),
                    "majority": (cells.labels[tested] == 0).mean(),
                }
            )
    return pd.DataFrame(rows)


def by_deal(cells: Cells, folds: int, seeds: Iterable[int]) -> pd.DataFrame:
    """Deal the cells at random and by module, from each seed, and test the simple classifier on all folds.

    Returns
    -------
    DataFrame
        ``seed``, then as ``by_split``.
    """
    parts = []
    for seed in seeds:
        dealt = {AT_RANDOM: random_folds(cells, folds, seed), BY_MODULE: folds_of(cells, folds, seed)}
        table = by_split(cells, dealt)
        table.insert(0, "seed", seed)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """What dealing at random changes, seed by seed.

    Parameters
    ----------
    table : see ``by_deal``.

    Returns
    -------
    DataFrame
        ``seed, gap`` (points of mean accuracy by which "at random" is higher), ``range_at_random`` and
        ``range_by_module`` (points between the best and the worst fold).
    """
    found = 100 * table.groupby(["seed", "split"])["accuracy"].agg(["mean", "min", "max"]).unstack()
    mean, spread = found["mean"], found["max"] - found["min"]
    return pd.DataFrame(
        {
            "gap": mean[AT_RANDOM] - mean[BY_MODULE],
            "range_at_random": spread[AT_RANDOM],
            "range_by_module": spread[BY_MODULE],
        }
    ).reset_index()


def by_module_alone(cells: Cells) -> float:
    """Accuracy of saying of each cell what most cells of its module are, without looking at it."""
    shares = pd.Series(cells.labels).groupby(cells.module).transform("mean")
    return float(((shares > 0.5) == cells.labels).mean())
