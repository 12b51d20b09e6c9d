"""From corrections at the frames to corrections at every action, ours and the paper's."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator

from mvista_core.records import Float64


def spread_correction(knots: Float64, knot_times_s: Float64, times_s: Float64) -> Float64:
    """Corrections [L, J] at `times_s` from corrections `knots` [T, J] at the frame times.

    Shape-preserving cubic (PCHIP) with both end slopes set to zero: C1 also against the measured
    start before it and the hold after it, monotone between knots (no overshoot), zero for zero.
    """
    slopes = PchipInterpolator(knot_times_s, knots, axis=0).derivative()(knot_times_s)
    # Within Fritsch and Carlson's bounds as well: the end pieces stay monotone.
    slopes[[0, -1]] = 0.0
    curve = CubicHermiteSpline(knot_times_s, knots, slopes, axis=0)
    clamped = np.clip(times_s, knot_times_s[0], knot_times_s[-1])
    return np.asarray(curve(clamped), dtype=np.float64)


def step_correction(knots: Float64, knot_times_s: Float64, times_s: Float64) -> Float64:
    """Corrections [L, J] at `times_s` on straight lines between `knots` [T, J] at the frame times.

    The paper's: continuous, with a jump of speed at every frame.
    """
    columns = [np.interp(times_s, knot_times_s, column) for column in knots.T]
    return np.stack(columns, axis=1)
