"""Intervals for the rates that the evaluation commands report."""

from __future__ import annotations

import math


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a proportion; 95 % for the default `z`. (0, 1) without a trial."""
    if count == 0:
        return 0.0, 1.0
    p = successes / count
    scale = 1 + z * z / count
    centre = (p + z * z / (2 * count)) / scale
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / scale
    return max(centre - half, 0.0), min(centre + half, 1.0)
