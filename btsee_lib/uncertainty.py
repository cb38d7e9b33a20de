"""Intervals: of a share, of a ratio over images, and of resampled values."""

import numpy as np
from scipy.stats import binomtest


def interval(values: np.ndarray, confidence: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval along an axis, without the nans."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail], axis=axis)
    return low, high


def share_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson interval of a share; (nan, nan) without trials."""
    if trials == 0:
        return float("nan"), float("nan")
    found = binomtest(int(successes), int(trials)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, resamples: int, seed: int, confidence: float
) -> tuple[float, float]:
    """Bootstrap interval, over images, of sum(numerator) / sum(denominator), both (N,)."""
    generator = np.random.default_rng(seed)
    images = len(numerator)
    weights = generator.multinomial(images, np.full(images, 1 / images), resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval(weights @ numerator / (weights @ denominator), confidence)
    return float(low), float(high)
