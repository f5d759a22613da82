"""What a list of samples says: median, spread, percentiles, and how sure the median is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Summary:
    """Statistics of samples, all in the unit of the samples."""

    median: float
    low: float
    high: float
    p5: float
    p90: float
    p95: float
    mad: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval around the median, as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median > 0 else float("inf")


def summarize(samples: Samples, confidence: float, resamples: int, seed: int) -> Summary:
    """Summary of one-dimensional samples (shape [n], n >= 1) with a bootstrap interval of the median."""
    values = np.sort(np.asarray(samples, np.float64))
    low, high = median_interval(values, confidence, resamples, seed)
    p5, median, p90, p95 = np.percentile(values, (5, 50, 90, 95))
    return Summary(float(median), low, high, float(p5), float(p90), float(p95), mad(values))


def mad(samples: Samples) -> float:
    """Median absolute deviation from the median, unscaled."""
    values = np.asarray(samples, np.float64)
    return float(np.median(np.abs(values - np.median(values))))


def median_interval(samples: Samples, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the median of samples (shape [n], n >= 1).

    Resampled medians are drawn without resampling. A resample of size n is n independent uniform
    ranks, so its median is the sample at the middle one of n ordered uniform numbers, which
    follows Beta(k, n + 1 - k) (David and Nagaraja, Order Statistics, 2.1). For even n the upper
    middle is drawn given the lower one. The same distribution as the plain bootstrap, in
    O(resamples) instead of O(resamples x n).
    """
    values = np.sort(np.asarray(samples, np.float64))
    n = len(values)
    rng = np.random.default_rng(seed)
    k = (n + 1) // 2
    lower = rng.beta(k, n + 1 - k, resamples)
    medians = values[_ranks(lower, n)]
    if n % 2 == 0:
        upper = 1 - (1 - lower) * rng.beta(n - k, 1, resamples)
        medians = (medians + values[_ranks(upper, n)]) / 2
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, (tail, 1 - tail))
    return float(low), float(high)


def _ranks(uniform: Samples, n: int) -> NDArray[np.intp]:
    return np.minimum((uniform * n).astype(np.intp), n - 1)
