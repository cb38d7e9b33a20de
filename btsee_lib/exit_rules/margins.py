"""Class Precision Margin in other readings: another bar, a smoothed precision, a lower bound in place of it.

CPM takes the lowest threshold at which the precision *observed* on valid meets the bar. Of many thresholds that
picks a lucky one, so its promise is optimistic; those with a lower bound are not.
"""

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from scipy.stats import beta
from torch import Tensor

from btsee_lib.calibration import ClassPrecisionMargin, Terms, precision_above


class ClassByClass(ClassPrecisionMargin):
    """CPM in two parts, of which other readings replace one: the ``bars``, and the ``lowest`` confidence."""

    def bars(self, knob: float, terms: Terms) -> Tensor:
        """The precision that each class must reach, (K,); nan closes a class."""
        return terms.bars(knob)

    def lowest(self, confidence: Tensor, right: Tensor, bar: float, min_support: int) -> float:
        """Return the lowest confidence at which the samples above it meet the bar; inf if there is none."""
        candidates, precision, support = precision_above(confidence, right)
        good = (precision >= bar) & (support >= min_support)
        return float(candidates[good].min()) if good.any() else torch.inf

    def thresholds(
        self, confidence: Tensor, predicted: Tensor, labels: Tensor, knob: float, terms: Terms
    ) -> Tensor:
        """Search each class among the samples that are named so; inf where there is none."""
        bars = self.bars(knob, terms)
        thresholds = torch.full((len(bars),), torch.inf, dtype=confidence.dtype)
        for c, bar in enumerate(bars.tolist()):
            mine = predicted == c
            if mine.any() and not np.isnan(bar):
                thresholds[c] = self.lowest(confidence[mine], labels[mine] == c, bar, terms.min_support)
        return thresholds


class MultiplicativeMargin(ClassByClass):
    """The bar is (1 - margin) times the backbone's precision, as in a public reading of the paper's code."""

    def bars(self, knob: float, terms: Terms) -> Tensor:
        """The backbone's precision less a share of it, (K,)."""
        return ((1 - knob) * terms.bars(0.0)).clamp(max=terms.ceiling)


class SmoothedPrecision(ClassByClass):
    """The chance to be right, as a function of the confidence, is made to rise before precisions are taken."""

    def lowest(self, confidence: Tensor, right: Tensor, bar: float, min_support: int) -> float:
        """Return the lowest confidence at which the smoothed precision above it meets the bar."""
        order = confidence.argsort(stable=True)
        smooth = torch.empty(len(order), dtype=torch.float64)
        smooth[order] = torch.from_numpy(isotonic_regression(right[order].double().numpy()).x)
        return super().lowest(confidence, smooth, bar, min_support)


class LowerBound(ClassByClass):
    """A lower confidence bound of the precision must meet the bar: the promise is kept at a stated level.

    Thresholds are tried from strict to loose, from the first one at which samples without a mistake could pass,
    up to the first that fails (fixed-sequence testing, as in Learn then Test, arXiv 2110.01052); each with the
    exact binomial bound. So for one class and branch the true precision above the threshold lies below its bar
    with a probability of at most 1 - ``level``, for samples such as those of valid.

    Parameters
    ----------
    level : of the confidence.
    """

    def __init__(self, level: float = 0.9):
        self.level = level

    def lowest(self, confidence: Tensor, right: Tensor, bar: float, min_support: int) -> float:
        """Return the lowest confidence down to which the bound meets the bar; inf if there is none."""
        candidates, precision, support = precision_above(confidence, right)
        number, error = support.double().numpy(), 1 - self.level
        hits = np.round(precision.numpy() * number)
        bound = np.where(hits > 0, beta.ppf(error, np.maximum(hits, 1), number - hits + 1), 0.0)
        could_pass = (error ** (1 / number) >= bar) & (number >= min_support)
        passed = np.logical_and.accumulate(bound[could_pass] >= bar)
        return float(candidates[could_pass][passed.sum() - 1]) if passed.any() else torch.inf


class LowerBoundOfAll(LowerBound):
    """Risk control for all classes together: one threshold, and one bar, the mean of those of the classes.

    So fewer samples are needed to prove it, and nothing is promised for a single class.
    """

    def thresholds(
        self, confidence: Tensor, predicted: Tensor, labels: Tensor, knob: float, terms: Terms
    ) -> Tensor:
        """Go down the confidences of all classes at once until the bound falls below the mean bar."""
        bars = terms.bars(knob)
        thresholds = torch.full((len(bars),), torch.inf, dtype=confidence.dtype)
        mine = ~bars[predicted].isnan()
        if mine.any():
            confidence, predicted, labels = confidence[mine], predicted[mine], labels[mine]
            thresholds[predicted.unique()] = self.lowest(
                confidence, predicted == labels, float(bars.nanmean()), terms.min_support
            )
        return thresholds
