"""Intervals of rates, quantiles and root mean squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, t


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a proportion; 95 % for the default `z`. (0, 1) without a trial."""
    if count == 0:
        return 0.0, 1.0
    p = successes / count
    scale = 1 + z * z / count
    centre = (p + z * z / (2 * count)) / scale
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / scale
    return max(centre - half, 0.0), min(centre + half, 1.0)


def rms(values: Sequence[float]) -> float:
    """Root mean square of values [N], in their unit."""
    return float(np.sqrt(np.mean(np.square(values))))


@dataclass(frozen=True)
class Interval:
    """An estimate from `count` values and its 95 % interval; NaN where too few to say."""

    value: float
    low: float
    high: float
    count: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of the values that are no NaN, with Student's interval; that needs two of them."""
    found = np.asarray(values, np.float64)
    found = found[~np.isnan(found)]
    count = len(found)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(found.mean())
    # Infinite values (two pictures that are equal have no finite PSNR) have no spread.
    if count < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, count)
    half = float(t.ppf(0.975, count - 1) * found.std(ddof=1) / math.sqrt(count))
    return Interval(mean, mean - half, mean + half, count)


def median_interval(values: Sequence[float]) -> Interval:
    """Median of values [N] with the interval between order statistics; that needs six.

    It asks nothing of the distribution: the median lies below the k-th smallest of N values with
    the probability that fewer than k of N coins fall on one side.
    """
    found = np.sort(np.asarray(values, np.float64))
    count = len(found)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    # The largest k with at most 2.5 % on either side.
    k = int(binom.ppf(0.025, count, 0.5))
    if binom.cdf(k - 1, count, 0.5) > 0.025:
        k -= 1
    if k < 1:
        return Interval(float(np.median(found)), math.nan, math.nan, count)
    return Interval(float(np.median(found)), float(found[k - 1]), float(found[-k]), count)


@dataclass(frozen=True)
class Quantiles:
    """Median, 99th percentile and largest of `count` values, in the unit of their name."""

    count: int
    p50: float
    p99: float
    largest: float

    @staticmethod
    def of(values: NDArray[np.floating]) -> Quantiles:
        """Of values [N]; all NaN when there are none."""
        if len(values) == 0:
            return Quantiles(0, np.nan, np.nan, np.nan)
        p50, p99 = np.quantile(values, (0.5, 0.99))
        return Quantiles(len(values), float(p50), float(p99), float(np.max(values)))

    def __str__(self) -> str:
        return f"p50 {self.p50:.3f}, p99 {self.p99:.3f}, max {self.largest:.3f} (n={self.count})"
