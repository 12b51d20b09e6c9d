"""Stage 3b: noise of a planner's size taken off, within a stated tolerance, where it would cost.

At 15 Hz a jitter of 1 mrad between points already asks for more than 2 rad/s2. Following it exactly
would slow the whole motion down for the sake of noise, so a joint whose exact curve passes its
acceleration limit may leave its points by `smooth_within`; how far it does is in the report.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PPoly, make_smoothing_spline

from mvista_core.arm import ArmModel
from mvista_core.records import Float64
from mvista_executor.interpolate import curve_through, extremes, peaks
from mvista_executor.settings import ExecutorSettings, per_joint

_STIFFNESS_S3 = np.logspace(-8.0, -3.0, 11)
_FEWEST_POINTS = 6
_WORTH = 0.5


def fitted_curve(
    points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> PPoly:
    """The curve through points [T, J]; joints beyond their acceleration limit are smoothed.

    The first and the last point are met exactly. Of all smoothings within the tolerance the
    weakest that meets the limit is taken; if none does, the strongest, provided it halves the
    acceleration: a real motion is not bent, it is slowed.
    """
    curve = curve_through(points, times_s, arm)
    if len(times_s) < _FEWEST_POINTS:
        return curve
    within = per_joint(arm, settings.smooth_within_rad, settings.smooth_within_m)
    allowed = settings.limit_fraction * arm.max_acceleration
    coefficients = curve.c.copy()
    for joint in np.flatnonzero(peaks(curve)[1] > allowed):
        smoother = _smoothed(
            points[:, joint],
            times_s,
            float(within[joint]),
            float(allowed[joint]),
            float(peaks(curve)[1][joint]),
        )
        if smoother is not None:
            low, high = extremes(smoother)
            if low[0] >= arm.lower[joint] and high[0] <= arm.upper[joint]:
                coefficients[:, :, joint] = smoother.c[:, :, 0]
    return PPoly(coefficients, times_s, extrapolate=False)


def _smoothed(
    points: Float64, times_s: Float64, within: float, allowed: float, exact: float
) -> PPoly | None:
    best: tuple[float, PPoly] | None = None
    for stiffness in _STIFFNESS_S3:
        curve = _pinned(points, times_s, float(stiffness))
        if np.abs(curve(times_s)[:, 0] - points).max() > within:
            break
        peak = float(peaks(curve)[1][0])
        if peak <= allowed:
            return curve
        best = (peak, curve)
    return best[1] if best is not None and best[0] <= _WORTH * exact else None


def _pinned(points: Float64, times_s: Float64, stiffness: float) -> PPoly:
    """A natural cubic smoothing spline [1], tilted to meet the first and the last point."""
    spline = make_smoothing_spline(times_s, points, lam=stiffness)
    values = spline(times_s)
    ends = times_s[[0, -1]]
    values = values + np.interp(times_s, ends, (points - values)[[0, -1]])
    through = PPoly.from_spline((spline.t, spline.c, spline.k), extrapolate=False)
    slope = through(times_s[:-1], 1) + np.diff((points - spline(times_s))[[0, -1]]) / np.diff(ends)
    width = np.diff(times_s)
    bend = through(times_s[:-1], 2) / 2.0
    cubic = (values[1:] - values[:-1] - slope * width - bend * width**2) / width**3
    return PPoly(np.stack([cubic, bend, slope, values[:-1]])[..., None], times_s, extrapolate=False)
