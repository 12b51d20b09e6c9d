"""Stage 3: a smooth curve through the points, C2: its acceleration is continuous."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline, CubicSpline, PPoly

from mvista_core.arm import ArmModel
from mvista_core.records import Float64

_TINY = 1e-12
_ROUNDING = 1e-9


def curve_through(points: Float64, times_s: Float64, arm: ArmModel) -> PPoly:
    """Piecewise cubic [J] through points [T, J] at times_s [T], T >= 2; C2.

    A natural cubic spline. It overshoots near steps; where that would leave a joint's position
    limits though no point does, that joint takes the variation-diminishing spline of its points:
    it meets the first and the last, stays inside their hull, and cuts the corners.
    """
    # Natural: no acceleration at the ends, since the points come without one to meet there.
    curve = PPoly(CubicSpline(times_s, points, bc_type="natural").c, times_s, extrapolate=False)
    lowest, highest = extremes(curve)
    outside = (lowest < arm.lower - _ROUNDING) | (highest > arm.upper + _ROUNDING)
    if outside.any():
        coefficients = curve.c.copy()
        coefficients[:, :, outside] = _within_hull(points[:, outside], times_s)
        curve = PPoly(coefficients, times_s, extrapolate=False)
    return curve


def _within_hull(points: Float64, times_s: Float64) -> Float64:
    """Coefficients [4, T-1, K] of Schoenberg's spline of the polyline through points [T, K]."""
    # Controls are the polyline at Greville's abscissae, the means of three knots each (Schoenberg).
    knots = np.concatenate([times_s[[0, 0, 0]], times_s, times_s[[-1, -1, -1]]])
    places = (knots[1:-3] + knots[2:-2] + knots[3:-1]) / 3.0
    controls = np.stack([np.interp(places, times_s, column) for column in points.T], axis=1)
    spline = BSpline(knots, controls, 3)
    value, slope, bend = (spline(times_s, order) for order in (0, 1, 2))
    cubic = np.diff(bend, axis=0) / (6.0 * np.diff(times_s)[:, None])
    return np.stack([cubic, bend[:-1] / 2.0, slope[:-1], value[:-1]])


def extremes(curve: PPoly) -> tuple[Float64, Float64]:
    """Smallest and largest value of each joint over the whole curve, exact, ([J], [J])."""
    width = np.diff(curve.x)[:, None]
    cubic, square, slope, value = curve.c
    root = np.sqrt(np.maximum(square**2 - 3.0 * cubic * slope, 0.0))
    # Both roots of 3 c0 u^2 + 2 c1 u + c2, in the form that survives c0 -> 0.
    q = -(square + np.where(square >= 0, root, -root))
    first = q / np.where(np.abs(cubic) < _TINY, np.inf, 3.0 * cubic)
    second = slope / np.where(np.abs(q) < _TINY, np.inf, q)
    candidates = [np.zeros_like(slope), np.broadcast_to(width, slope.shape), first, second]
    values = []
    for at in candidates:
        # A root outside its piece, or none at all, gives another place on the curve: no harm.
        at = np.clip(at, 0.0, width)
        values.append(((cubic * at + square) * at + slope) * at + value)
    stacked = np.concatenate(values)
    return stacked.min(axis=0), stacked.max(axis=0)


def peaks(curve: PPoly) -> tuple[Float64, Float64, Float64]:
    """Largest |velocity|, |acceleration| and |jerk| of each joint on the curve, exact, each [J]."""
    width = np.diff(curve.x)[:, None]
    cubic, square, slope, _ = curve.c
    # Per piece velocity is a parabola, acceleration a line, jerk constant: vertex and ends suffice.
    vertex = np.clip(-square / np.where(np.abs(cubic) < _TINY, np.inf, 3.0 * cubic), 0.0, width)
    speeds = [
        np.abs((3.0 * cubic * at + 2.0 * square) * at + slope)
        for at in (np.zeros_like(slope), np.broadcast_to(width, slope.shape), vertex)
    ]
    accelerations = [np.abs(2.0 * square), np.abs(6.0 * cubic * width + 2.0 * square)]
    return (
        np.concatenate(speeds).max(axis=0),
        np.concatenate(accelerations).max(axis=0),
        np.abs(6.0 * cubic).max(axis=0),
    )
