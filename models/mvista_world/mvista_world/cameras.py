"""Cameras as the generator sees them: Eq. 6 (look-at point) and Eq. 7 (13-D spherical token).

And which cameras it can be told at all: `check_cameras`, asked before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mvista_core.camera_range import why_blind
from mvista_core.errors import RigError
from mvista_core.geometry import pose_fault
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraCalibration, Float64

FREQUENCIES = 2
EMBEDDING_DIM = 3 * 2 * FREQUENCIES + 1
FLAT_DIM = 12
LEAST_BASELINE_M = 0.001
"""Two views nearer to each other are one: they span no epipolar line."""


def window_cameras(
    cameras: Iterable[CameraCalibration], window: ModelWindow
) -> tuple[Float64, Float64]:
    """base_from_camera [V, 4, 4] and K [V, 3, 3] of the model's window (pixels) of cameras.

    Raises:
        ObservationError: an image is smaller than the window.
    """
    pairs = [(c.base_from_camera, window.intrinsics(c.intrinsics).matrix) for c in cameras]
    poses, matrices = zip(*pairs, strict=True)
    return np.stack(poses), np.stack(matrices)


def camera_matrices(intrinsics: NDArray[np.floating]) -> Float64:
    """K [..., 3, 3] of (fx, fy, cx, cy) [..., 4]."""
    k = np.zeros((*intrinsics.shape[:-1], 3, 3))
    k[..., 0, 0], k[..., 1, 1] = intrinsics[..., 0], intrinsics[..., 1]
    k[..., :2, 2], k[..., 2, 2] = intrinsics[..., 2:], 1.0
    return k


def check_cameras(
    names: Sequence[str],
    base_from_camera: NDArray[np.floating],
    intrinsics: NDArray[np.floating],
    window: ModelWindow,
) -> None:
    """Refuse views that no generator can be told: poses [V, 4, 4] and K [V, 3, 3] of the window.

    Raises:
        RigError: a pose that is not rigid, mirrors, or sees nothing of the workspace; two cameras
            in one place; a K that is no pinhole's or does not fit the window.
    """
    for name, pose, k in zip(names, base_from_camera, intrinsics, strict=True):
        _check_pose(name, pose)
        _check_pinhole(name, k, window)
    centres = np.asarray(base_from_camera, dtype=np.float64)[:, :3, 3]
    for i, name in enumerate(names):
        for other, centre in zip(names[:i], centres[:i], strict=True):
            apart_m = float(np.linalg.norm(centres[i] - centre))
            if apart_m < LEAST_BASELINE_M:
                raise RigError(
                    f"cameras '{other}' and '{name}' stand {apart_m * 1e3:.3g} mm apart; two views "
                    f"need {LEAST_BASELINE_M * 1e3:g} mm at least: see base_from_camera"
                )


def _check_pose(name: str, pose: NDArray[np.floating]) -> None:
    if fault := pose_fault(pose):
        raise RigError(f"camera '{name}': base_from_camera {fault}")
    if fault := why_blind(pose):
        raise RigError(f"camera '{name}' {fault}")


def _check_pinhole(name: str, k: NDArray[np.floating], window: ModelWindow) -> None:
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    pinhole = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if not (np.isfinite(k).all() and np.array_equal(k, pinhole) and fx > 0 and fy > 0):
        raise RigError(
            f"camera '{name}': K {k.tolist()} is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with "
            "fx, fy > 0"
        )
    if not (0 <= cx < window.width_px and 0 <= cy < window.height_px):
        raise RigError(
            f"camera '{name}': the centre ({cx:.4g}, {cy:.4g}) px of K lies outside the model's "
            f"window of {window.width_px}x{window.height_px}; is K of another resolution?"
        )


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


def camera_embedding(
    base_from_camera: NDArray[np.floating], look_at_m: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Eq. 7: e_v [V, 13] = Fourier features (2 frequencies) of yaw, pitch, roll, and log rho, round
    `look_at_m` [3], or (None) Eq. 6's point of these cameras."""
    point = look_at_point(base_from_camera) if look_at_m is None else look_at_m
    rows: list[Sequence[float]] = []
    for pose in base_from_camera:
        *angles, rho = spherical(pose, point)
        # Sines and cosines of an angle do not jump at +-pi, as the angle does.
        features = [
            f(2**k * a) for a in angles for k in range(FREQUENCIES) for f in (np.sin, np.cos)
        ]
        rows.append([*features, np.log(max(rho, 1e-6))])
    return np.array(rows, dtype=np.float32)


def flat_embedding(base_from_camera: NDArray[np.floating]) -> NDArray[np.float32]:
    """What Table 10 sets beside Eq. 7's token: extrinsics [V, 4, 4] flattened to [V, 12]."""
    return np.asarray(base_from_camera, np.float32)[:, :3].reshape(-1, FLAT_DIM)
