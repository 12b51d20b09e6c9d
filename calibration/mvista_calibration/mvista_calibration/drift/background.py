"""One camera's static background as it was, and how the camera has moved since.

Direct alignment: pixels of the learned background are carried into a new frame by a twist, and
their depth and brightness compared there (Kerl, Sturm and Cremers 2013, with the linearisation
taken at the background). What moves (arm, objects, people) is weighted out; a depth bias of the
unit is in both images and cancels. Brightness may change as a whole (gain and offset are free).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.twists import moved, point_jacobian
from mvista_core.errors import CalibrationError
from mvista_core.records import CameraFrame, Float32, Float64, Intrinsics

WIDTH_PX = 160
"""Frames are reduced to about this width: 1 degree is then 1.6 px of a Femto Bolt."""
BLUR_PX = 1.5
POINTS = 700
"""At most so many pixels for depth, and so many for brightness."""
LEAST_STATIC_SHARE = 0.6
STEP_PER_M = 0.03
"""Depth that changes faster than this per pixel and metre of distance is an edge."""
OCCLUSION_M = 0.03
LEAST_GRADIENT = 2.0
TUKEY = 4.685
PRIOR_SD = np.array([0.05] * 3 + [np.deg2rad(5.0)] * 3)
ITERATIONS = 8
BORDER_PX = 4


@dataclass(frozen=True)
class Reduced:
    """A frame as the watch keeps it: depth [h, w] m (NaN: invalid), blurred gray [h, w]."""

    depth_m: Float32
    gray: Float32
    intrinsics: Intrinsics


@dataclass(frozen=True)
class Alignment:
    """`now_from_then` as a twist [6] (m, rad), its formal sd [6], and the share that agreed."""

    twist: Float64
    sd: Float64
    share: float


@dataclass(frozen=True)
class Background:
    """The learned picture of one camera: median depth [h, w] (NaN: unknown) and gray, and the
    points, image values and Jacobians that alignment uses."""

    camera: str
    depth_m: Float32
    gray: Float32
    intrinsics: Intrinsics
    static: NDArray[np.bool_]
    depth_points: Float64
    depth_rows: Float64
    gray_points: Float64
    gray_rows: Float64
    gray_values: Float64


def reduce_frame(frame: CameraFrame) -> Reduced:
    """The frame at about `WIDTH_PX`: gray averaged, depth taken from each block's middle."""
    factor = max(frame.intrinsics.width_px // WIDTH_PX, 1)
    height, width = (side // factor for side in frame.depth_m.shape)
    middle = factor // 2
    depth = frame.depth_m[middle::factor, middle::factor][:height, :width].astype(np.float32)
    depth = np.where(depth > 0, depth, np.float32(np.nan))
    gray = cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY)[: height * factor, : width * factor]
    small = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    lens = frame.intrinsics.cropped(0, 0, width * factor, height * factor).scaled(1.0 / factor)
    # Depth pixels sit at `middle`, blocks' centres at (factor - 1) / 2: half a pixel of the frame
    # at most, the same in every frame, so that it cancels.
    return Reduced(depth, np.asarray(cv2.GaussianBlur(small, (0, 0), BLUR_PX)), lens)


def learn_background(camera: str, frames: Sequence[Reduced]) -> Background:
    """The static background from frames of the camera at rest.

    Raises:
        CalibrationError: under 5 frames, or too little of the view is static and valid.
    """
    if len(frames) < 5:
        raise CalibrationError(f"{camera}: {len(frames)} frames, a background needs at least 5")
    stack = np.stack([frame.depth_m for frame in frames])
    seen = np.isfinite(stack).mean(axis=0) >= LEAST_STATIC_SHARE
    filled = np.where(seen, stack, np.float32(0.0))
    depth = np.nanmedian(filled, axis=0).astype(np.float32)
    noise = np.nanmedian(np.abs(filled - depth), axis=0)
    grays = np.stack([frame.gray for frame in frames])
    gray = np.median(grays, axis=0).astype(np.float32)
    flicker = np.median(np.abs(grays - gray), axis=0)
    static = seen & (noise < 0.004 + 0.006 * depth**2) & (flicker < 8.0)
    lens = frames[0].intrinsics
    depth = np.where(seen, depth, np.float32(np.nan))
    slope_u, slope_v = _gradients(depth)
    with np.errstate(invalid="ignore"):
        smooth = static & (np.maximum(np.abs(slope_u), np.abs(slope_v)) < STEP_PER_M * depth)
    edge_u, edge_v = _gradients(gray)
    marked = static & (np.hypot(edge_u, edge_v) > LEAST_GRADIENT)
    chosen, marks = _pick(smooth, POINTS), _pick(marked, POINTS)
    if len(chosen[0]) < 100:
        raise CalibrationError(
            f"{camera}: only {len(chosen[0])} pixels of the background are static with valid "
            "depth, at least 100 are needed; does the camera look at the table?"
        )
    points = _points(depth, lens, chosen)
    rows = _image_rows(points, lens, slope_u[chosen], slope_v[chosen])
    # d(D(u) - z) = grad D du - dz: the surface may come nearer, or the pixel slide to other depth.
    rows -= point_jacobian(points)[:, 2]
    mark_points = _points(depth, lens, marks)
    mark_rows = _image_rows(mark_points, lens, edge_u[marks], edge_v[marks])
    return Background(
        camera, depth, gray, lens, static, points, rows, mark_points, mark_rows,
        gray[marks].astype(np.float64),
    )  # fmt: skip


def align(background: Background, frame: Reduced, start: Float64 | None = None) -> Alignment | None:
    """How the camera has moved since the background was learned; None: it cannot be told."""
    twist = np.zeros(6) if start is None else start.copy()
    information = np.eye(8)
    share = 0.0
    for step in range(ITERATIONS):
        # Wide at first, so that an edge two pixels away still pulls.
        wide = max(3.0 - step, 1.0)
        pose = moved(np.eye(4), twist)
        rows, errors, weights, share = _stacked(background, frame, pose, wide)
        if share < 0.02:
            return None
        # Gauss-Newton with the background's Jacobian, taken once: only errors and weights are new.
        information = rows.T @ (weights[:, None] * rows)
        # A plain background holds no sideways motion: the prior does, instead of a singular matrix.
        information[np.arange(6), np.arange(6)] += PRIOR_SD**-2.0
        information += np.diag([0.0] * 6 + [1e-3, 1e-3])
        pull = rows.T @ (weights * errors)
        pull[:6] += twist * PRIOR_SD**-2.0
        change = -np.linalg.solve(information, pull)[:6]
        twist = twist + change
        if step >= 3 and (np.abs(change) < [2e-5] * 3 + [2e-5] * 3).all():
            break
    sd = np.sqrt(np.diag(np.linalg.inv(information))[:6])
    return Alignment(twist, sd, share)


def _stacked(
    background: Background, frame: Reduced, pose: Float64, wide: float
) -> tuple[Float64, Float64, Float64, float]:
    """Rows [N, 8] (twist, gain, offset), errors and weights of both kinds, share that agrees."""
    there, seen = _sampled(frame.depth_m, background, background.depth_points, pose)
    gap = seen - there[:, 2]
    weight_d, share = _weights(gap, 0.003, 0.015, wide)
    rows_d = np.pad(background.depth_rows, ((0, 0), (0, 2)))
    marks, depth = _sampled(frame.depth_m, background, background.gray_points, pose)
    _, bright = _sampled(frame.gray, background, background.gray_points, pose)
    with np.errstate(invalid="ignore"):
        hidden = depth < marks[:, 2] - OCCLUSION_M
    values = background.gray_values
    level = np.where(hidden, np.nan, bright)
    difference = level - values
    if np.isfinite(difference).sum() > 20:
        # Exposure changes all pixels along one line; taken out beforehand it is no outlier to
        # Tukey.
        difference = difference - _affine(values, difference)
    weight_g, _ = _weights(difference, 2.0, 12.0, wide)
    ones = np.ones(len(values))
    rows_g = np.column_stack([background.gray_rows, -values / 128.0, -ones])
    rows = np.concatenate([rows_d, rows_g])
    errors = np.nan_to_num(np.concatenate([gap, difference]))
    return rows, errors, np.concatenate([weight_d, weight_g]), share


def _affine(values: Float64, difference: Float64) -> Float64:
    """Robust brightness change: two trimmed straight-line fits of the difference by the value."""
    ok = np.isfinite(difference)
    centre = float(np.median(difference[ok]))
    line = np.array([0.0, centre])
    for _ in range(2):
        rest = np.abs(difference - np.polyval(line, values))
        near = ok & (rest <= np.nanpercentile(rest, 70) + 1e-6)
        spread = float(np.ptp(values[near])) if near.any() else 0.0
        if spread < 20.0:
            return np.full(len(values), centre)
        line = np.polyfit(values[near], difference[near], 1)
    return np.asarray(np.polyval(line, values))


def _weights(errors: Float64, least: float, most: float, wide: float) -> tuple[Float64, float]:
    """Tukey weights over variance [N] and the share of all within bounds; NaN weighs nothing."""
    finite = errors[np.isfinite(errors)]
    if not finite.size:
        return np.zeros(len(errors)), 0.0
    # 1.4826 times the median deviation is a Gaussian's sigma, whatever a minority does.
    scale = float(np.clip(1.4826 * np.median(np.abs(finite)), least, most)) * wide
    ratio = np.nan_to_num(np.abs(errors) / (TUKEY * scale), nan=2.0)
    weight = np.where(ratio < 1, (1 - np.minimum(ratio, 1) ** 2) ** 2, 0.0)
    return weight / scale**2, float((ratio < 1).mean())


def _sampled(
    image: Float32, background: Background, points: Float64, pose: Float64
) -> tuple[Float64, Float64]:
    """Points after `pose` [N, 3] and the image's values there [N]; NaN outside or invalid."""
    lens = background.intrinsics
    there = points @ pose[:3, :3].T + pose[:3, 3]
    ahead = np.maximum(there[:, 2], 1e-3)
    u = (lens.fx_px * there[:, 0] / ahead + lens.cx_px).astype(np.float32)
    v = (lens.fy_px * there[:, 1] / ahead + lens.cy_px).astype(np.float32)
    values = cv2.remap(
        image, u[:, None], v[:, None], cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, (np.nan,)
    )
    return there, np.asarray(values, dtype=np.float64).reshape(-1)


def _gradients(image: Float32) -> tuple[Float64, Float64]:
    """Central differences along u and v."""
    along_v, along_u = np.gradient(image.astype(np.float64))
    return np.asarray(along_u), np.asarray(along_v)


def _pick(mask: NDArray[np.bool_], most: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Evenly chosen (row, column) of a mask, away from the border."""
    inner = np.zeros_like(mask)
    inner[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = True
    rows, columns = np.nonzero(mask & inner)
    stride = max(len(rows) / most, 1.0)
    keep = (np.arange(int(len(rows) / stride)) * stride).astype(np.intp)
    return rows[keep], columns[keep]


def _points(
    depth_m: Float32, lens: Intrinsics, at: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> Float64:
    z = depth_m[at].astype(np.float64)
    x = (at[1] - lens.cx_px) / lens.fx_px * z
    y = (at[0] - lens.cy_px) / lens.fy_px * z
    return np.stack([x, y, z], axis=1)


def _image_rows(points: Float64, lens: Intrinsics, along_u: Float64, along_v: Float64) -> Float64:
    """Derivative [N, 6] of the image value under the moved points, by the twist."""
    x, y, z = points.T
    by_point = np.stack(
        [
            along_u * lens.fx_px / z,
            along_v * lens.fy_px / z,
            -(along_u * lens.fx_px * x + along_v * lens.fy_px * y) / z**2,
        ],
        axis=1,
    )
    return np.asarray(np.einsum("ni,nij->nj", by_point, point_jacobian(points)))
