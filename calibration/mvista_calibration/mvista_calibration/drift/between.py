"""Whether the cameras agree with each other on what stands still, as the rig places them.

Small twists of all cameras and one depth offset per unit are solved jointly from points of every
camera against the surfaces that every other one measures. A plane alone says little of motion
along it, and a common motion of all says nothing: the prior keeps those at zero, and their sigma
shows it. What is wrong with the rig itself is in here too, so the drift watch compares it with the
same number of the baseline as well as with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvista_calibration.drift.background import Background
from mvista_calibration.twists import moved, point_jacobian
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert
from mvista_core.records import Float64

POINTS = 350
TWIST_SD = np.array([0.03] * 3 + [np.deg2rad(3.0)] * 3)
OFFSET_SD_M = 0.010
"""Depth offsets of time-of-flight units: about 5 to 15 mm and differing (field measurements)."""
SCALES_M = (0.03, 0.02, 0.01, 0.01)
TUKEY = 4.685
CORRELATED = 10.0
"""Neighbouring points share their errors: the formal variance is this much too small."""


@dataclass(frozen=True)
class Agreement:
    """Twist [C, 6] of each camera in the base frame (left; m, rad), against the mean of all, with
    its sd [C, 6], depth offsets [C] m, and the median absolute point-to-surface distance as the
    rig stands, m."""

    cameras: tuple[str, ...]
    twists: Float64
    sd: Float64
    offsets_m: Float64
    disagreement_m: float
    pairs: int


def between_cameras(
    backgrounds: Sequence[Background], base_from_camera: Mapping[str, Float64]
) -> Agreement:
    """Solve for the twists that would make the cameras' backgrounds agree.

    Raises:
        CalibrationError: fewer than two cameras.
    """
    if len(backgrounds) < 2:
        raise CalibrationError("agreement between cameras needs at least two of them")
    count = len(backgrounds)
    state = np.zeros(7 * count)
    prior = np.tile(np.append(TWIST_SD, OFFSET_SD_M), count) ** -2.0
    first: list[Float64] = []
    # Seven unknowns a camera, twist and depth offset, all at rest by the prior.
    information, used = np.diag(prior), 0
    for step, scale in enumerate(SCALES_M):
        information, pull, used = np.diag(prior), prior * state, 0
        for a in range(count):
            for b in range(count):
                if a == b:
                    continue
                rows, gaps = _pair(backgrounds, base_from_camera, state, a, b)
                if step == 0 and len(gaps):
                    first.append(np.abs(gaps))
                # Tukey's weights with a scale that shrinks: far surfaces must pull at first, never
                # at the end.
                ratio = np.minimum(np.abs(gaps) / (TUKEY * scale / 2), 1.0)
                weights = (1 - ratio**2) ** 2 / (scale**2 * CORRELATED)
                at = np.r_[7 * a : 7 * a + 7, 7 * b : 7 * b + 7]
                information[np.ix_(at, at)] += rows.T @ (weights[:, None] * rows)
                pull[at] += rows.T @ (weights * gaps)
                used += len(gaps) > 30
        state = state - np.linalg.solve(information, pull)
    # A motion common to all cameras cannot be seen: what remains is against their mean.
    relative = np.kron(np.eye(count) - 1.0 / count, np.diag([1.0] * 6 + [0.0]))
    relative += np.kron(np.eye(count), np.diag([0.0] * 6 + [1.0]))
    covariance = relative @ np.linalg.inv(information) @ relative.T
    sd = np.sqrt(np.diag(covariance)).reshape(count, 7)
    solved = (relative @ state).reshape(count, 7)
    disagreement = float(np.median(np.concatenate(first))) if first else float("nan")
    return Agreement(
        tuple(b.camera for b in backgrounds), solved[:, :6], sd[:, :6], solved[:, 6],
        disagreement, used,
    )  # fmt: skip


def _pair(
    backgrounds: Sequence[Background],
    base_from_camera: Mapping[str, Float64],
    state: Float64,
    a: int,
    b: int,
) -> tuple[Float64, Float64]:
    """Points of `a` against the surface `b` measures: rows [N, 14] and gaps [N], m."""
    of_a, of_b = backgrounds[a], backgrounds[b]
    step = max(len(of_a.depth_points) // POINTS, 1)
    points = of_a.depth_points[::step]
    rays = points / points[:, 2:]
    pose_a = moved(base_from_camera[of_a.camera], state[7 * a : 7 * a + 6])
    pose_b = moved(base_from_camera[of_b.camera], state[7 * b : 7 * b + 6])
    # A unit that reads o too far has its points o too far along their rays.
    held = points - rays * state[7 * a + 6]
    in_base = held @ pose_a[:3, :3].T + pose_a[:3, 3]
    b_from_base = invert(pose_b)
    seen = in_base @ b_from_base[:3, :3].T + b_from_base[:3, 3]
    there, normals, found = _surface(of_b, seen)
    there, normals, seen = there[found], normals[found], seen[found]
    ray_b = there / there[:, 2:]
    surface = there - ray_b * state[7 * b + 6]
    gaps = ((seen - surface) * normals).sum(axis=1)
    close = np.abs(gaps) < 0.06
    in_base, normals, gaps = in_base[found][close], normals[close], gaps[close]
    ray_a, ray_b = rays[found][close], ray_b[close]
    upright = normals @ pose_b[:3, :3].T
    by_a = np.einsum("ni,nij->nj", upright, point_jacobian(in_base))
    offset_a = -((ray_a @ pose_a[:3, :3].T) * upright).sum(axis=1)
    offset_b = (ray_b * normals).sum(axis=1)
    return np.column_stack([by_a, offset_a, -by_a, offset_b]), gaps


def _surface(background: Background, points: Float64) -> tuple[Float64, Float64, Float64]:
    """Where `background` measures a surface in the direction of points [N, 3], and its normal."""
    lens, depth = background.intrinsics, background.depth_m
    height, width = depth.shape
    ahead = np.maximum(points[:, 2], 1e-3)
    u = np.rint(lens.fx_px * points[:, 0] / ahead + lens.cx_px).astype(int)
    v = np.rint(lens.fy_px * points[:, 1] / ahead + lens.cy_px).astype(int)
    ok = (points[:, 2] > 0.1) & (u > 2) & (u < width - 3) & (v > 2) & (v < height - 3)
    u, v = np.where(ok, u, 3), np.where(ok, v, 3)

    def at(columns: Float64, rows: Float64) -> Float64:
        z = depth[rows, columns].astype(np.float64)
        x, y = (columns - lens.cx_px) / lens.fx_px * z, (rows - lens.cy_px) / lens.fy_px * z
        return np.stack([x, y, z], axis=1)

    centre, gap = at(u, v), 3
    along_u, along_v = at(u + gap, v) - at(u - gap, v), at(u, v + gap) - at(u, v - gap)
    normals = np.cross(along_u, along_v)
    length = np.linalg.norm(normals, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        normals = normals / length[:, None]
        bent = np.abs(at(u + gap, v) + at(u - gap, v) - 2 * centre)[:, 2]
        bent = np.maximum(bent, np.abs(at(u, v + gap) + at(u, v - gap) - 2 * centre)[:, 2])
        ok &= background.static[v, u] & np.isfinite(normals).all(axis=1) & (bent < 0.02)
    return centre, normals, ok
