"""Whether a rig file still holds, by a new session: each camera's motion against its sigma."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_calibration.coarse import solve_bundle
from mvista_calibration.records import Session
from mvista_calibration.twists import point_jacobian
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, rotation_angle_rad, transform_points
from mvista_core.records import RigCalibration

LARGEST_SIGMAS = 3.0
LARGEST_MOTION_M = 0.005
"""A pixel at 1 m and 320x180: what fused views of the model's size can bear."""


@dataclass(frozen=True)
class CameraMotion:
    """One camera against the reference: RMS motion over the workspace's corners, m; the turn, rad;
    the motion in sigmas of both calibrations."""

    name: str
    moved_m: float
    turned_rad: float
    sigmas: float


@dataclass(frozen=True)
class Verification:
    """All cameras but the reference, and whether the rig holds, in words."""

    cameras: tuple[CameraMotion, ...]
    holds: bool
    words: str


def verify_rig(session: Session, rig: RigCalibration) -> Verification:
    """Solve the session's boards anew and compare.

    Raises:
        CalibrationError: the session's cameras are not the rig's, or it cannot be solved.
    """
    missing = [name for name in session.names if name not in rig.names]
    if missing:
        raise CalibrationError(f"rig '{rig.name}' has no cameras {missing}; it has {rig.names}")
    found = solve_bundle(session).rig
    base_from_reference = rig.camera(session.reference).base_from_camera
    corners = transform_points(invert(base_from_reference), session.workspace.corners_m)
    jacobian = point_jacobian(corners)
    motions = []
    for k, name in enumerate(session.names[1:]):
        known = invert(base_from_reference) @ rig.camera(name).base_from_camera
        step = found.pose(name) @ invert(known)
        away = transform_points(step, corners) - corners
        covariance = np.asarray(found.covariance)[6 * k : 6 * k + 6, 6 * k : 6 * k + 6]
        spread = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
        # The old calibration is taken to be as uncertain as this one.
        sigma = np.sqrt(2.0 * np.trace(spread, axis1=1, axis2=2))
        moved_m = float(np.sqrt((away**2).sum(axis=1).mean()))
        sigmas = float(np.sqrt(((away**2).sum(axis=1) / sigma**2).mean()))
        motions.append(CameraMotion(name, moved_m, rotation_angle_rad(step[:3, :3]), sigmas))
    gone = [m for m in motions if m.sigmas > LARGEST_SIGMAS and m.moved_m > LARGEST_MOTION_M]
    if gone:
        said = ", ".join(f"{m.name} by {m.moved_m * 1e3:.1f} mm" for m in gone)
        words = (
            f"rig '{rig.name}' does not hold: moved against {session.reference}: {said} (allowed "
            f"{LARGEST_MOTION_M * 1e3:g} mm or {LARGEST_SIGMAS:g} sigma); calibrate again"
        )
        return Verification(tuple(motions), False, words)
    return Verification(tuple(motions), True, f"rig '{rig.name}' holds")
