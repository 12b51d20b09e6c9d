"""The arm's links in depth against forward kinematics: joint zeros, and camera against robot.

The links are spheres at the joints and capsules between them, as the arm file's DH table places
them. Depth in front of the learned background and near a link gives a signed distance to its
surface; joint offsets, one depth offset per camera and one error of the links' radius are solved
from the distances of many poses. What is near the palm is left out: things are held there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from mvista_calibration.drift.background import Background, Reduced
from mvista_core.arm import ArmModel
from mvista_core.geometry import pose_from
from mvista_core.records import Float64

REACH_M = 0.035
FOREGROUND_M = 0.03
PALM_CLEAR_M = 0.075
ABOVE_TABLE_M = 0.06
POINTS = 150
NOISE_M = 0.006
CORRELATED = 10.0
"""Points on one link share its shape's and the unit's errors; formal variance times this."""
OFFSET_SD_M, RADIUS_SD_M, JOINT_SD_RAD = 0.010, 0.004, float(np.deg2rad(5.0))
TUKEY = 4.685
ROUNDS = 4


@dataclass(frozen=True)
class LinkShapes:
    """Radii, m: of the sphere at each joint [J], and of the capsules from joint to joint."""

    joint_m: tuple[float, ...] = (0.042, 0.039, 0.036, 0.033, 0.030, 0.027)
    link_m: float = 0.032


@dataclass(frozen=True)
class ArmPoints:
    """Points [N, 3] in the base frame that one camera saw near the arm, the rays [N, 3] they lie
    on, and the joint positions [J] then."""

    camera: int
    points: Float64
    rays: Float64
    positions: Float64


@dataclass(frozen=True)
class JointZeros:
    """Offsets [J] (rad, true minus reported) with sd [J], each camera's median absolute distance
    to the links before and after, m (NaN: not seen), and how many points were used."""

    offsets_rad: Float64
    sd_rad: Float64
    before_m: Float64
    after_m: Float64
    used: int


@dataclass(frozen=True)
class _Capsules:
    start: Float64
    end: Float64
    radius: Float64
    joint: NDArray[np.int64]
    origins: Float64
    axes: Float64
    palm: Float64


def arm_points(
    arm: ArmModel,
    shapes: LinkShapes,
    background: Background,
    frame: Reduced,
    positions: Float64,
    base_from_camera: Float64,
    camera: int,
) -> ArmPoints:
    """Points of one frame near the links as `positions` [J] place them."""
    with np.errstate(invalid="ignore"):
        nearer = background.depth_m - frame.depth_m > FOREGROUND_M
    # Pixels on an outline mix the arm with what is behind it.
    inside = binary_erosion(nearer & np.isfinite(frame.depth_m), iterations=1)
    rows, columns = np.nonzero(inside)
    lens, z = frame.intrinsics, frame.depth_m[inside].astype(np.float64)
    local = np.stack(
        [(columns - lens.cx_px) / lens.fx_px * z, (rows - lens.cy_px) / lens.fy_px * z, z], axis=1
    )
    points = local @ base_from_camera[:3, :3].T + base_from_camera[:3, 3]
    rays = local / np.maximum(z, 1e-3)[:, None] @ base_from_camera[:3, :3].T
    capsules = _capsules(arm, shapes, positions, 0.0)
    if not len(points):
        return ArmPoints(camera, points, rays, positions)
    distance, _, _ = _nearest(capsules, points)
    held = _to_segment(points, capsules.palm[0], capsules.palm[1])[1] < PALM_CLEAR_M
    near = (np.abs(distance) < REACH_M) & ~held & (points[:, 2] > ABOVE_TABLE_M)
    kept = np.nonzero(near)[0][:: max(int(near.sum()) // POINTS, 1)]
    return ArmPoints(camera, points[kept], rays[kept], positions)


def joint_zeros(
    arm: ArmModel, shapes: LinkShapes, seen: Sequence[ArmPoints], cameras: int
) -> JointZeros:
    """Joint offsets from the points of many poses and cameras (Gauss-Newton, Tukey weights)."""
    count = len(arm.dh)
    size = count + cameras + 1
    # Joints that no pose shows stay at zero with the prior's sigma, and are reported as blind.
    prior = np.array([JOINT_SD_RAD] * count + [OFFSET_SD_M] * cameras + [RADIUS_SD_M]) ** -2.0
    state = np.zeros(size)
    information = np.diag(prior)
    before, after, used = np.full(cameras, np.nan), np.full(cameras, np.nan), 0
    # Wide at first, 3, 2, then 1.5 sigma: a shoulder 5 degrees off puts the hand 5 cm aside.
    for step in range(ROUNDS):
        information, pull, used = np.diag(prior), prior * state, 0
        gaps: list[list[Float64]] = [[] for _ in range(cameras)]
        for item in seen:
            if not len(item.points):
                continue
            rows, gap = _rows(arm, shapes, item, state, count, cameras)
            scale = NOISE_M * max(3.0 - step, 1.5)
            weights = (1 - np.minimum(np.abs(gap) / (TUKEY * scale), 1.0) ** 2) ** 2
            weights /= NOISE_M**2 * CORRELATED
            information += rows.T @ (weights[:, None] * rows)
            pull += rows.T @ (weights * gap)
            gaps[item.camera].append(np.abs(gap))
            used += len(gap)
        after = np.array([float(np.median(np.concatenate(g))) if g else np.nan for g in gaps])
        before = after if step == 0 else before
        state = state - np.linalg.solve(information, pull)
    sd = np.sqrt(np.diag(np.linalg.inv(information)))
    return JointZeros(state[:count], sd[:count], before, after, used)


def _rows(
    arm: ArmModel, shapes: LinkShapes, item: ArmPoints, state: Float64, joints: int, cameras: int
) -> tuple[Float64, Float64]:
    """Derivatives [N, joints + cameras + 1] of the signed distances [N] to the links."""
    positions = item.positions.copy()
    positions[:joints] += state[:joints]
    capsules = _capsules(arm, shapes, positions, float(state[-1]))
    points = item.points - item.rays * state[joints + item.camera]
    gap, normal, joint = _nearest(capsules, points)
    rows = np.zeros((len(points), joints + cameras + 1))
    for index in range(joints):
        # A joint moves what lies behind it: dp / dq = axis x (p - origin), and the gap by -n^T dp.
        speed = np.cross(capsules.axes[index], points - capsules.origins[index])
        rows[:, index] = np.where(joint >= index, -(normal * speed).sum(axis=1), 0.0)
    rows[:, joints + item.camera] = -(normal * item.rays).sum(axis=1)
    rows[:, -1] = -1.0
    return rows, gap


def _capsules(arm: ArmModel, shapes: LinkShapes, positions: Float64, thicker_m: float) -> _Capsules:
    frames = _frames(arm, positions)
    origins = np.stack([frame[:3, 3] for frame in frames])
    axes = np.stack([frame[:3, 2] for frame in frames])
    last = len(frames) - 1
    radii = np.array([*shapes.joint_m[: last + 1], *[shapes.link_m] * last])
    joint = np.array([*range(last + 1), *range(last)], dtype=np.int64)
    start, end = np.concatenate([origins, origins[:-1]]), np.concatenate([origins, origins[1:]])
    tip = frames[-1] @ pose_from(np.eye(3), np.array([0.0, 0.0, arm.flange_from_tip_m]))
    palm = np.stack([origins[-1], tip[:3, 3]])
    return _Capsules(start, end, radii + thicker_m, joint, origins, axes, palm)


def _frames(arm: ArmModel, positions: Float64) -> list[Float64]:
    """Frames of all links: the DH table cut short after each row."""
    frames, pose = [], np.eye(4)
    for index, row in enumerate(arm.dh):
        one = type(arm)(**{**arm.__dict__, "dh": (row,)})
        pose = pose @ one.base_from_flange(positions[index : index + 1])
        frames.append(pose)
    return frames


def _nearest(capsules: _Capsules, points: Float64) -> tuple[Float64, Float64, NDArray[np.int64]]:
    """Signed distance [N] to the nearest surface, its outward normal [N, 3], the joint it is on."""
    best = np.full(len(points), np.inf)
    normal = np.zeros_like(points)
    joint = np.zeros(len(points), dtype=np.int64)
    for index in range(len(capsules.radius)):
        foot, length = _to_segment(points, capsules.start[index], capsules.end[index])
        gap = length - capsules.radius[index]
        closer = gap < best
        best[closer] = gap[closer]
        away = points[closer] - foot[closer]
        normal[closer] = away / np.maximum(length[closer], 1e-6)[:, None]
        joint[closer] = capsules.joint[index]
    return best, normal, joint


def _to_segment(points: Float64, start: Float64, end: Float64) -> tuple[Float64, Float64]:
    """Nearest points [N, 3] of a segment and the distances [N] to them."""
    along = end - start
    squared = float(along @ along)
    share = np.zeros(len(points)) if squared < 1e-12 else (points - start) @ along / squared
    foot = start + np.clip(share, 0.0, 1.0)[:, None] * along
    return foot, np.linalg.norm(points - foot, axis=1)
