"""Lens distortion, both ways (Brown-Conrady with up to six radial coefficients, OpenCV's order).

Coefficients are k1 k2 p1 p2 k3 [k4 k5 k6]: 5 are ROS's plumb_bob, 8 its rational_polynomial.
Coordinates are normalised, x = X/Z.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mvista_core.records import Float64, Intrinsics

F = TypeVar("F", NDArray[np.float32], NDArray[np.float64])

MAX_ITERATIONS = 60
TOLERANCE = 1e-9
_STEP = 1e-6


def ros_distortion(coefficients: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
    """The model's name in `sensor_msgs/distortion_models` and as many coefficients as it takes
    (REP-104): plumb_bob with five, rational_polynomial with eight; what was not told is zero."""
    # OpenCV's thin prism and tilt come behind the eight: zeros, see `distort`.
    told = coefficients[:8]
    model, count = ("plumb_bob", 5) if len(told) <= 5 else ("rational_polynomial", 8)
    return model, told + (0.0,) * (count - len(told))


def distort(x: F, y: F, coefficients: tuple[float, ...]) -> tuple[F, F]:
    """Where the lens puts the rays (x, y)."""
    if not any(coefficients):
        return x, y
    # Where there are more they are zeros: a calibration refuses thin prism and tilt.
    k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, *(0.0,) * 8)[:8]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    across = 2 * x * y
    return (
        x * radial + p1 * across + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + p2 * across,
    )


def undistort(x: Float64, y: Float64, coefficients: tuple[float, ...]) -> tuple[Float64, Float64]:
    """The rays that the lens puts at (x, y), by Newton's method; NaN where there is none."""
    if not any(coefficients):
        return x, y
    ray_x, ray_y = x.copy(), y.copy()
    with np.errstate(all="ignore"):
        for _ in range(MAX_ITERATIONS):
            at_x, at_y = distort(ray_x, ray_y, coefficients)
            off_x, off_y = at_x - x, at_y - y
            if np.nanmax(np.hypot(off_x, off_y), initial=0.0) < TOLERANCE:
                break
            xx, xy = distort(ray_x + _STEP, ray_y, coefficients)
            yx, yy = distort(ray_x, ray_y + _STEP, coefficients)
            a, c = (xx - at_x) / _STEP, (xy - at_y) / _STEP
            b, d = (yx - at_x) / _STEP, (yy - at_y) / _STEP
            determinant = a * d - b * c
            ray_x = ray_x - (d * off_x - b * off_y) / determinant
            ray_y = ray_y - (a * off_y - c * off_x) / determinant
        at_x, at_y = distort(ray_x, ray_y, coefficients)
        lost = ~(np.hypot(at_x - x, at_y - y) < 1e3 * TOLERANCE)
    ray_x[lost], ray_y[lost] = np.nan, np.nan
    return ray_x, ray_y


def pixel_rays(intrinsics: Intrinsics) -> Float64:
    """Rays [H, W, 2] (x/z, y/z) through the pixel centres, distortion undone; NaN: no such ray."""
    columns, rows = np.meshgrid(
        np.arange(intrinsics.width_px, dtype=np.float64),
        np.arange(intrinsics.height_px, dtype=np.float64),
    )
    x = (columns - intrinsics.cx_px) / intrinsics.fx_px
    y = (rows - intrinsics.cy_px) / intrinsics.fy_px
    return np.stack(undistort(x, y, intrinsics.distortion), axis=-1)
