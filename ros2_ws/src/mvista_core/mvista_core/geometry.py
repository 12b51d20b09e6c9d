"""SE(3) and the pinhole camera. Poses are 4x4 arrays named `a_from_b`: they map b's points to a.

Frames follow REP-103: x forward, y left, z up, metres and radians; camera frames are *optical*
(z forward, x right, y down). Quaternions and Euler angles are transforms3d's, which ROS's
tf_transformations wraps: both give the same answers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from transforms3d import euler, quaternions

Array = NDArray[np.float64]

ROTATION_TOLERANCE = 1e-6


def is_pose(matrix: NDArray[np.floating]) -> bool:
    """Whether a 4x4 array is in SE(3) to `ROTATION_TOLERANCE`."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        return False
    rotation = matrix[:3, :3]
    orthonormal = np.abs(rotation @ rotation.T - np.eye(3)).max() < ROTATION_TOLERANCE
    right_handed = np.linalg.det(rotation) > 0
    return bool(orthonormal and right_handed and np.array_equal(matrix[3], [0, 0, 0, 1]))


def pose_fault(matrix: NDArray[np.floating]) -> str:
    """Why a 4x4 array is no pose, with its numbers; "" where it is one."""
    if is_pose(matrix):
        return ""
    wanted = "an orthonormal rotation of determinant +1 and the last row 0 0 0 1 are needed"
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        return f"is not rigid: not 4x4 finite numbers; {wanted}"
    determinant = float(np.linalg.det(matrix[:3, :3]))
    if determinant < 0:
        return f"mirrors: its rotation has determinant {determinant:.4g}; {wanted}"
    off = float(np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max())
    return (
        f"is not rigid: R R^T is {off:.3g} off the unit matrix (at most {ROTATION_TOLERANCE:g}), "
        f"the determinant {determinant:.4g}, the last row {matrix[3].tolist()}; {wanted}"
    )


def pose_from(rotation: NDArray[np.floating], translation_m: NDArray[np.floating]) -> Array:
    """Assemble a 4x4 pose from a 3x3 rotation and a translation in metres."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = translation_m
    return pose


def invert(a_from_b: NDArray[np.floating]) -> Array:
    """`b_from_a`, by transposing the rotation."""
    rotation = np.asarray(a_from_b, dtype=np.float64)[:3, :3]
    return pose_from(rotation.T, -rotation.T @ np.asarray(a_from_b)[:3, 3])


def transform_points(a_from_b: NDArray[np.floating], points_b: NDArray[np.floating]) -> Array:
    """Map points [..., 3] from frame b to frame a."""
    pose = np.asarray(a_from_b, dtype=np.float64)
    return np.asarray(points_b) @ pose[:3, :3].T + pose[:3, 3]


def exp_so3(rotation_vector_rad: NDArray[np.floating]) -> Array:
    """Rotation vector [3] (axis times angle, rad) to rotation matrix (Rodrigues)."""
    vector = np.asarray(rotation_vector_rad, dtype=np.float64)
    angle = float(np.linalg.norm(vector))
    skew = _skew(vector)
    if angle < 1e-8:
        return np.eye(3) + skew + 0.5 * skew @ skew
    return np.eye(3) + np.sin(angle) / angle * skew + (1 - np.cos(angle)) / angle**2 * skew @ skew


def rotation_angle_rad(rotation: NDArray[np.floating]) -> float:
    """Angle of a rotation matrix, in [0, pi]."""
    sine_axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    # atan2 keeps precision near 0 and pi, where arccos of the trace loses it.
    return float(np.arctan2(np.linalg.norm(sine_axis), np.trace(rotation) - 1.0))


def quaternion_xyzw(rotation: NDArray[np.floating]) -> Array:
    """Unit quaternion (x, y, z, w), w >= 0, of a rotation matrix; ROS's order, as transforms3d's
    `mat2quat` finds it."""
    w, x, y, z = quaternions.mat2quat(np.asarray(rotation, dtype=np.float64))
    return np.array([x, y, z, w])


def rotation_from_quaternion(xyzw: NDArray[np.floating]) -> Array:
    """Rotation matrix of a quaternion (x, y, z, w); it is normalised first."""
    x, y, z, w = np.asarray(xyzw, dtype=np.float64) / np.linalg.norm(xyzw)
    return np.asarray(quaternions.quat2mat((w, x, y, z)))


def rpy_rad(rotation: NDArray[np.floating]) -> Array:
    """Roll, pitch, yaw [3] of a rotation matrix: about the fixed x, y, z, as URDF has them."""
    return np.array(euler.mat2euler(np.asarray(rotation, dtype=np.float64), "sxyz"))


def rotation_from_rpy(angles_rad: NDArray[np.floating]) -> Array:
    """Rotation matrix of roll, pitch, yaw [3] about the fixed x, y, z (rad)."""
    return np.asarray(euler.euler2mat(*(float(angle) for angle in angles_rad), "sxyz"))


def look_at(eye_m: NDArray[np.floating], target_m: NDArray[np.floating]) -> Array:
    """`base_from_camera` of an optical frame at `eye_m` looking at `target_m`, image up = base z.

    Raises:
        ValueError: the viewing direction is vertical, so "up" is undefined.
    """
    eye = np.asarray(eye_m, dtype=np.float64)
    forward = np.asarray(target_m, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError(f"looking straight along z from {eye}: up is undefined")
    right /= np.linalg.norm(right)
    return pose_from(np.column_stack([right, np.cross(forward, right), forward]), eye)


def back_project(depth_m: NDArray[np.floating], k: NDArray[np.floating]) -> Array:
    """Points [H, W, 3] in the optical frame from metric depth [H, W] (z, not range) and K [3, 3].

    Pixel (u, v) is the *centre* of the pixel. Where depth is 0 (invalid) the point is 0.
    """
    height, width = depth_m.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    x = (u - k[0, 2]) / k[0, 0] * depth_m
    y = (v - k[1, 2]) / k[1, 1] * depth_m
    return np.stack([x, y, np.asarray(depth_m, dtype=np.float64)], axis=-1)


def project(points_camera_m: NDArray[np.floating], k: NDArray[np.floating]) -> Array:
    """Pixels [..., 2] (u, v) of points [..., 3] in the optical frame; NaN behind the camera."""
    points = np.asarray(points_camera_m, dtype=np.float64)
    z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    u = k[0, 0] * points[..., 0] / z + k[0, 2]
    v = k[1, 1] * points[..., 1] / z + k[1, 2]
    return np.stack([u, v], axis=-1)


def _skew(vector: Array) -> Array:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
