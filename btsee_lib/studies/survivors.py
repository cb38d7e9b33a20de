"""Whom a branch really meets: the covariance shift, and what training on survivors brings.

The shift is the difference between all images and the survivors that earlier branches pass on
(claim 1 of arXiv 2509.08318); training on survivors is the paper's answer to it (claim 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btsee_lib.boosting import calibration_terms, who_remains
from btsee_lib.calibration import Terms, confidence_and_class
from btsee_lib.config import BoostingParameters
from btsee_lib.features import Features, SplitFeatures
from btsee_lib.trees import BranchTree, margin_names
from btsee_lib.uncertainty import image_weights, interval, ratio_interval

# The columns of a table of gains without rows: all branches behind the first are closed.
GAIN = "seed branch train_survivors test_survivors boosted_accuracy independent_accuracy gain".split()


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
        for name, logits_of_all in networks.items():
            confidence, predicted = confidence_and_class(logits_of_all[mask])
            right = (predicted == split.labels[mask]).double()
            rows.append((group, "accuracy", name, float(right.mean())))
            rows.append((group, "confidence", name, float(confidence.double().mean())))
        rows.append((group, "number", "samples", float(mask.sum())))
    return pd.DataFrame(rows, columns=["group", "kind", "name", "value"])


class MixShift(NamedTuple):
    """How far the class mix of some images is from that of all: total variation distance, shares.

    ``low`` and ``high``: bootstrap interval over the images met. ``by_chance``: what as many images, drawn at
    random, exceed in one case of forty.
    """

    distance: float
    low: float
    high: float
    by_chance: float


def class_mix_shift(labels: Tensor, met: Tensor, resamples: int = 1000, seed: int = 0) -> MixShift:
    """Compare the class mix of the images met, bool (N,), with that of all, labels int64 (N,)."""
    everyone = torch.bincount(labels).numpy()
    counts = torch.bincount(labels[met], minlength=len(everyone)).numpy()
    generator, number = np.random.default_rng(seed), int(counts.sum())

    def distance(drawn: np.ndarray) -> np.ndarray:
        return np.abs(drawn / number - everyone / everyone.sum()).sum(-1) / 2

    again = distance(generator.multinomial(number, counts / number, resamples))
    at_random = distance(generator.multivariate_hypergeometric(everyone, number, resamples))
    low, high = interval(again, 0.95)
    return MixShift(float(distance(counts)), float(low), float(high), float(np.quantile(at_random, 0.975)))


def falls_on_survivors(
    right: dict[str, np.ndarray], met: np.ndarray, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """How far networks fall from all images to those met, and how far one of their accuracy would.

    The weaker a network, the further it falls on images that are hard. So the last one, a branch, is held
    against a straight line through the others, which no branch stands before: what lies above it is a fall
    that its strength does not explain.

    Parameters
    ----------
    right : bool (N,) for each network, the branch last.
    met : bool (N,), the images that reach the branch.

    Returns
    -------
    DataFrame
        ``network, accuracy`` (%), and in points ``fall``, ``expected`` (the line), ``beyond`` and its 95 %
        bootstrap interval over images, ``low, high``. From ``expected`` on nan without two other networks.
    """
    accuracy, fall, expected = _falls(right, met, resamples, seed)
    low, high = interval((fall - expected)[1:], 0.95)
    columns = {"accuracy": accuracy[0], "fall": fall[0], "expected": expected[0]}
    table = pd.DataFrame({"network": list(right)} | columns)
    return table.assign(beyond=table["fall"] - table["expected"], low=low, high=high)


def beyond_over_seeds(
    of_seeds: Sequence[tuple[dict[str, np.ndarray], np.ndarray]], resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """How far the branches of several seeds lie above the line on average, with its 95 % interval over images.

    Parameters
    ----------
    of_seeds : for each seed what ``falls_on_survivors`` takes, on the same images.
    """
    parts = [_falls(*each, resamples, seed) for each in of_seeds]
    beyond = np.mean([(fall - expected)[:, -1] for _, fall, expected in parts], axis=0)
    return float(beyond[0]), *map(float, interval(beyond[1:], 0.95))


def _falls(
    right: dict[str, np.ndarray], met: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy (%), fall and what the line expects (points), (1 + resamples, networks); as measured first."""
    weights = np.vstack([np.ones(len(met), int), image_weights(len(met), resamples, seed)])
    answers = np.stack(list(right.values()), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = 100 * (weights @ answers) / len(met)
        fall = accuracy - 100 * ((weights * met) @ answers) / (weights @ met)[:, None]
        centre = accuracy[:, :-1].mean(1, keepdims=True)
        slope = ((accuracy - centre) * fall)[:, :-1].sum(1) / ((accuracy - centre)[:, :-1] ** 2).sum(1)
        expected = fall[:, :-1].mean(1, keepdims=True) + slope[:, None] * (accuracy - centre)
    return accuracy, fall, expected


@dataclass(frozen=True)
class TrainingGains:
    """Boosted against independent training, branch by branch, on the test survivors.

    ``table`` has one row a seed and boosted branch behind branch 1. ``gained`` and ``met``, by the number of
    the branch, float64 (N,) each, count for every test image how often boosting put it right (less how
    often wrong), and how many branches of that number it reached.
    """

    table: pd.DataFrame
    gained: dict[int, np.ndarray]
    met: dict[int, np.ndarray]

    def by_branch(self) -> pd.DataFrame:
        """Points gained on all test survivors that branches of a number meet: ``gain, low, high`` by branch.

        The 95 % interval is of test images, for these seeds.
        """
        rows = {}
        for number, gained in self.gained.items():
            low, high = ratio_interval(gained, self.met[number])
            rows[number] = [100 * gained.sum() / max(self.met[number].sum(), 1), 100 * low, 100 * high]
        return pd.DataFrame.from_dict(rows, orient="index", columns=["gain", "low", "high"])


def training_gains(
    baseline: list[BranchTree], boosted: list[BranchTree], features: Features, parameters: BoostingParameters
) -> TrainingGains:
    """Compare each branch of a sequential scheme with that of another on the survivors that reach it.

    Parameters
    ----------
    baseline, boosted : a tree a seed, of equal seeds; the second scheme is the sequential one.

    Closed branches have no row, and equal ones a single row. Survivors follow from thresholds that
    were set on valid.
    """
    test, terms = features["test"], calibration_terms(features, parameters)
    numbers, rows, seen = range(2, len(parameters.margins) + 1), [], set()
    gained, met = ({number: np.zeros(len(test)) for number in numbers} for _ in range(2))
    for other, tree in zip(baseline, boosted, strict=True):
        for (number, margins), reached in survivors_of(tree, features, parameters, terms).items():
            row, gains = beside(tree, other, number, margins, reached["test"], test.labels)
            # Behind a branch that lets nothing out, margins make no difference: the same branch again.
            twin = (tree.seed, number, tree.logits["test"][tree.position[number, margins]].numpy().tobytes())
            if row.pop("closed") or number == 1 or twin in seen:
                continue
            seen.add(twin)
            here = reached["test"].numpy()
            gained[number][here] += gains.numpy()
            met[number][here] += 1
            rows.append(row)
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=GAIN, dtype=float)
    return TrainingGains(table, gained, met)


def beside(
    tree: BranchTree, other: BranchTree, number: int, margins: tuple[float, ...], here: Tensor, labels: Tensor
) -> tuple[dict, Tensor]:
    """Set a branch of a sequential tree beside that of another on the test images ``here``, bool (N,).

    Returns
    -------
    tuple
        A row of ``training_gains``, with ``closed``, and for each of these images whether the first branch is
        right less whether the second is.
    """
    place = tree.position[number, margins]
    answers = tree.logits["test"][place], other.logits["test"][other.position[number, ()]]
    right = [(each.argmax(1) == labels)[here].double() for each in answers]
    row = {"seed": tree.seed, "branch": number, **margin_names(margins)}
    row |= tree.nodes.loc[place, ["closed", "train_survivors"]].to_dict() | {"test_survivors": int(here.sum())}
    row["boosted_accuracy"], row["independent_accuracy"] = (float(each.mean()) for each in right)
    return row | {"gain": 100 * float((right[0] - right[1]).mean())}, right[0] - right[1]


def survivors_of(
    tree: BranchTree, features: Features, parameters: BoostingParameters, terms: Terms
) -> dict[tuple[int, tuple[float, ...]], dict[str, Tensor]]:
    """Who of valid and test reaches each branch of a sequential tree, bool (N,), by its number and margins."""
    reached = {(1, ()): {name: torch.ones(len(features[name]), dtype=torch.bool) for name in tree.logits}}
    labels = features["valid"].labels
    for (number, margins), position in tree.position.items():  # a branch stands behind those before it
        here, closed = reached[number, margins], tree.nodes["closed"][position]
        logits = {name: each[position] for name, each in tree.logits.items()}
        for margin in parameters.margins[number - 1]:
            remains = here if closed else who_remains(logits, here, labels, margin, terms)
            reached[number + 1, (*margins, margin)] = remains
    return {key: reached[key] for key in tree.position}
