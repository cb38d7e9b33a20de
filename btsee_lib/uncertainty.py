"""Intervals: of a share, of a mean of few values, of a ratio over images, and of resampled values."""

import warnings

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy
from scipy.stats import binomtest, t


def interval(values: np.ndarray, confidence: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval along an axis, without the nans."""
    tail = 100 * (1 - confidence) / 2
    with warnings.catch_warnings():  # a column of nothing but nans has the interval (nan, nan)
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanpercentile(values, [tail, 100 - tail], axis=axis)
    return low, high


def image_weights(images: int, resamples: int, seed: int | np.random.Generator) -> np.ndarray:
    """How often each image is drawn in each resample: int (resamples, images)."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)


def share_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a share; (nan, nan) without trials."""
    if trials == 0:
        return float("nan"), float("nan")
    found = binomtest(int(successes), int(trials)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def mean_interval(groups: DataFrameGroupBy, confidence: float = 0.95) -> tuple[pd.DataFrame, ...]:
    """Mean of each column in each group, and ends of its interval by Student's t (nan for one value)."""
    mean, number = groups.mean(), groups.size()
    reach = groups.std().mul(t.ppf((1 + confidence) / 2, number - 1) / number**0.5, axis=0)
    return mean, mean - reach, mean + reach


def ratio_interval(
    numerator: np.ndarray,
    denominator: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap interval, over images, of sum(numerator) / sum(denominator), both (N,)."""
    weights = image_weights(len(numerator), resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval(weights @ numerator / (weights @ denominator), confidence)
    return float(low), float(high)


def fall_interval(
    right: np.ndarray, met: np.ndarray, resamples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of a mean over all images less that over the images met.

    Parameters
    ----------
    right : (N,), whether an answer is right, or the difference of two such; met : bool (N,).
    """
    weights = image_weights(len(right), resamples, seed)
    with np.errstate(invalid="ignore"):
        falls = weights @ right / len(right) - weights @ (right * met) / (weights @ met)
    low, high = interval(falls, confidence)
    return float(low), float(high)
