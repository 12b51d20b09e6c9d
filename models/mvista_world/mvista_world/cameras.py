"""Cameras as the generator sees them: Eq. 6 (look-at point) and Eq. 7 (13-D spherical token)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FREQUENCIES = 2
EMBEDDING_DIM = 3 * 2 * FREQUENCIES + 1


def look_at_point(base_from_camera: NDArray[np.floating]) -> NDArray[np.float64]:
    """Eq. 6: the point [3] closest, in least squares, to the optical axes of cameras [V, 4, 4].

    With parallel axes (or one camera) the system is singular along the axis; the minimum-norm
    correction around the mean centre, one metre ahead, is returned then.
    """
    poses = np.asarray(base_from_camera, dtype=np.float64)
    centres, directions = poses[:, :3, 3], poses[:, :3, 2]
    # Normal equations of Eq. 6: I - d d^T takes the distance to an axis, summed over the cameras.
    projectors = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    guess = (centres + directions).mean(axis=0)
    rhs = np.einsum("vij,vj->i", projectors, centres - guess)
    correction, *_ = np.linalg.lstsq(projectors.sum(axis=0), rhs, rcond=1e-6)
    return guess + correction


def spherical(
    base_from_camera: NDArray[np.floating], point: NDArray[np.floating]
) -> tuple[float, float, float, float]:
    """(yaw, pitch, roll, rho) of one camera [4, 4] around the look-at point (rad, m).

    Roll is the angle of the image's right axis to the horizontal direction across the view.
    """
    pose = np.asarray(base_from_camera, dtype=np.float64)
    r = pose[:3, 3] - point
    rho = float(np.linalg.norm(r))
    yaw = float(np.arctan2(r[1], r[0]))
    pitch = float(np.arcsin(np.clip(r[2] / max(rho, 1e-9), -1.0, 1.0)))
    # Roll about the viewing direction, which yaw and pitch leave free; horizon level is zero.
    level = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    across = np.cross(pose[:3, 2], level)
    right = pose[:3, 0]
    return yaw, pitch, float(np.arctan2(right @ across, right @ level)), rho


def camera_embedding(base_from_camera: NDArray[np.floating]) -> NDArray[np.float32]:
    """Eq. 7: e_v [V, 13] = Fourier features (2 frequencies) of yaw, pitch, roll, and log rho."""
    point = look_at_point(base_from_camera)
    rows: list[Sequence[float]] = []
    for pose in base_from_camera:
        *angles, rho = spherical(pose, point)
        # Sines and cosines of an angle do not jump at +-pi, as the angle does.
        features = [
            f(2**k * a) for a in angles for k in range(FREQUENCIES) for f in (np.sin, np.cos)
        ]
        rows.append([*features, np.log(max(rho, 1e-6))])
    return np.array(rows, dtype=np.float32)
