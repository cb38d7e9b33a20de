"""Whom a branch really meets: the covariance shift, and what training on survivors brings.

The shift is the difference between all images and the survivors that earlier branches pass on
(claim 1 of arXiv 2509.08318); training on survivors is the paper's answer to it (claim 2).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import Features, who_remains
from btsee_lib.calibration import confidence_and_class
from btsee_lib.config import Boosting as BoostingParameters
from btsee_lib.features import SplitFeatures


def shift_table(
    groups: dict[str, Tensor], split: SplitFeatures, logits: list[Tensor], classes: tuple
) -> pd.DataFrame:
    """Describe groups of samples: class mix, and how well each branch and the backbone do on them.

    Parameters
    ----------
    groups : bool (N,) for each name, for example "all" and "survivors of branch 1".
    logits : those of the branches, (N, K) each.

    Returns
    -------
    DataFrame
        ``group, kind, name, value``: kind "class" (share of the class ``name``), "accuracy" and
        "confidence" (mean, by network ``name``), and "number" of samples.
    """
    networks = {f"branch {b}": each for b, each in enumerate(logits, start=1)} | {"backbone": split.logits}
    rows = []
    for group, mask in groups.items():
        shares = torch.bincount(split.labels[mask], minlength=len(classes)) / mask.sum()
        rows += [(group, "class", name, float(share)) for name, share in zip(classes, shares, strict=True)]
        for name, said in networks.items():
            confidence, predicted = confidence_and_class(said[mask])
            right = (predicted == split.labels[mask]).double()
            rows.append((group, "accuracy", name, float(right.mean())))
            rows.append((group, "confidence", name, float(confidence.double().mean())))
        rows.append((group, "number", "samples", float(mask.sum())))
    return pd.DataFrame(rows, columns=["group", "kind", "name", "value"])


@dataclass(frozen=True)
class TrainingGains:
    """Boosted against independent training, branch by branch, on the test survivors.

    ``table`` has one row a seed and boosted branch behind branch 1; ``gained`` and ``met``, float64
    (N,), count for every test image how often boosting put it right (less how often wrong), and how
    many of those branches it reached.
    """

    table: pd.DataFrame
    gained: np.ndarray
    met: np.ndarray


def training_gains(cascades: Iterable, features: Features, limits: BoostingParameters) -> TrainingGains:
    """Compare each boosted branch with the independent one on the survivors that reach it.

    Closed branches have no row, and equal ones a single row. Survivors follow from thresholds that
    were set on valid.
    """
    test = features["test"]
    rows, gained, met, seen = [], np.zeros(len(test)), np.zeros(len(test)), set()
    for trained in cascades:
        independent = trained.nodes[trained.nodes["training"] == "independent"].reset_index()
        reach = {(): {name: torch.ones(len(features[name]), dtype=torch.bool) for name in trained.logits}}
        for position, node in trained.nodes[trained.nodes["training"] == "boosted"].iterrows():
            margins = tuple(node[f"m{b}"] for b in range(1, node["branch"]))
            here = reach[margins]
            logits = {name: trained.logits[name][position] for name in trained.logits}
            for margin in limits.margins[node["branch"] - 1]:
                remains = here if node["closed"] else who_remains(logits, here, features, margin, limits)
                reach[(*margins, margin)] = remains
            # Behind a branch that lets nothing out, margins make no difference: the same branch again.
            twin = (trained.seed, node["branch"], logits["test"].numpy().tobytes())
            if node["closed"] or node["branch"] == 1 or twin in seen:
                continue
            seen.add(twin)
            other = trained.logits["test"][independent["index"][node["branch"] - 1]]
            right = [(said.argmax(1) == test.labels)[here["test"]].double() for said in (logits["test"], other)]
            gained[here["test"].numpy()] += (right[0] - right[1]).numpy()
            met[here["test"].numpy()] += 1
            rows.append(
                {
                    "seed": trained.seed,
                    "branch": node["branch"],
                    **{f"m{b}": margin for b, margin in enumerate(margins, start=1)},
                    "train_survivors": node["train_survivors"],
                    "test_survivors": int(here["test"].sum()),
                    "boosted_accuracy": float(right[0].mean()),
                    "independent_accuracy": float(right[1].mean()),
                    "gain": 100 * float((right[0] - right[1]).mean()),
                }
            )
    return TrainingGains(pd.DataFrame(rows), gained, met)
