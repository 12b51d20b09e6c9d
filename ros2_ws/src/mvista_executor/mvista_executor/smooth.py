"""Stage 3b: noise of a planner's size taken off, within a stated tolerance, where it would cost.

At 15 Hz a jitter of 1 mrad between points already asks for more than 2 rad/s2 and 80 rad/s3.
Following it exactly would slow the whole motion down for the sake of noise, so a joint whose exact
curve passes its acceleration or jerk limit may leave its points by `smooth_within`; how far it does
is in the report.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import PPoly, make_smoothing_spline

from mvista_core.arm import ArmModel
from mvista_core.executor_settings import ExecutorSettings, per_joint
from mvista_core.records import Float64
from mvista_executor.interpolate import curve_through, extremes, peaks

# lambda in: sum of (f - x)^2 plus lambda times the integral of f''^2, weakest first.
_STIFFNESS_S3 = np.logspace(-8.0, -3.0, 11)
_FEWEST_POINTS = 6
_WORTH = 0.75


def fitted_curve(
    points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> PPoly:
    """The curve through points [T, J]; joints beyond acceleration or jerk limit are smoothed.

    The first and the last point are met exactly. Of all smoothings within the tolerance the
    weakest that meets the limits is taken; if none does, the strongest, provided it saves a
    quarter of the slowing: a real motion is not bent, it is slowed.
    """
    curve = curve_through(points, times_s, arm)
    if len(times_s) < _FEWEST_POINTS:
        return curve
    within = per_joint(arm, settings.smooth_within_rad, settings.smooth_within_m)
    coefficients = curve.c.copy()
    exact = _slowing(curve, arm, settings, np.arange(points.shape[1]))
    for joint in np.flatnonzero(exact > 1.0):

        def slowing(candidate: PPoly, joint: int = int(joint)) -> float:
            return float(_slowing(candidate, arm, settings, np.array([joint]))[0])

        smoother = _smoothed(points[:, joint], times_s, float(within[joint]), slowing)
        if smoother is None or slowing(smoother) > max(1.0, _WORTH * exact[joint]):
            continue
        # Off its points it may pass a position limit that they keep: then the exact curve stays.
        low, high = extremes(smoother)
        if low[0] >= arm.lower[joint] and high[0] <= arm.upper[joint]:
            coefficients[:, :, joint] = smoother.c[:, :, 0]
    return PPoly(coefficients, times_s, extrapolate=False)


def _slowing(
    curve: PPoly, arm: ArmModel, settings: ExecutorSettings, joints: np.ndarray
) -> Float64:
    """How many times each joint's curve must be slowed for its acceleration and jerk limits."""
    _, acceleration, jerk = peaks(curve)
    by_acceleration = acceleration / (settings.limit_fraction * arm.max_acceleration[joints])
    by_jerk = jerk / (settings.limit_fraction * arm.max_jerk[joints])
    return np.asarray(np.maximum(np.sqrt(by_acceleration), np.cbrt(by_jerk)))


def _smoothed(
    points: Float64, times_s: Float64, within: float, slowing: Callable[[PPoly], float]
) -> PPoly | None:
    """The weakest smoothing that needs no slowing, else the strongest within the tolerance."""
    best: PPoly | None = None
    for stiffness in _STIFFNESS_S3:
        curve = _pinned(points, times_s, float(stiffness))
        if np.abs(curve(times_s)[:, 0] - points).max() > within:
            break
        best = curve
        if slowing(curve) <= 1.0:
            break
    return best


def _pinned(points: Float64, times_s: Float64, stiffness: float) -> PPoly:
    """A natural cubic smoothing spline [1], tilted to meet the first and the last point."""
    spline = make_smoothing_spline(times_s, points, lam=stiffness)
    values = spline(times_s)
    ends = times_s[[0, -1]]
    # A straight line on top meets both ends and changes neither acceleration nor jerk.
    values = values + np.interp(times_s, ends, (points - values)[[0, -1]])
    through = PPoly.from_spline((spline.t, spline.c, spline.k), extrapolate=False)
    slope = through(times_s[:-1], 1) + np.diff((points - spline(times_s))[[0, -1]]) / np.diff(ends)
    width = np.diff(times_s)
    bend = through(times_s[:-1], 2) / 2.0
    cubic = (values[1:] - values[:-1] - slope * width - bend * width**2) / width**3
    return PPoly(np.stack([cubic, bend, slope, values[:-1]])[..., None], times_s, extrapolate=False)
