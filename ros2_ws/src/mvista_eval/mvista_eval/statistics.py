"""Intervals of rates, quantiles and root mean squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
