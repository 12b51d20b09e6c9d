"""Whether a rig file still holds, by a new session: each camera's motion against its sigma."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mvista_calibration.records import CoarseResult, Session
from mvista_calibration.solve.coarse import solve_bundle
from mvista_calibration.solve.hand_eye import solve_hand_eye
from mvista_calibration.twists import point_jacobian
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, rotation_angle_rad, transform_points
from mvista_core.records import Float64, RigCalibration

LARGEST_SIGMAS = 3.0
LARGEST_MOTION_M = 0.005
"""A pixel at 1 m and 320x180: what fused views of the model's size can bear."""


@dataclass(frozen=True)
class CameraMotion:
    """One camera against the reference, or (its name is the base frame) the robot against it: RMS
    motion over the workspace's corners, m; the turn, rad; the motion in sigmas of both."""

    name: str
    moved_m: float
    turned_rad: float
    sigmas: float

    @property
    def gone(self) -> bool:
        """Beyond what noise explains, and by more than fused views can bear."""
        return self.sigmas > LARGEST_SIGMAS and self.moved_m > LARGEST_MOTION_M


@dataclass(frozen=True)
class Verification:
    """All cameras but the reference, then the robot where it could be checked; and whether the
    rig holds, in words."""

    cameras: tuple[CameraMotion, ...]
    holds: bool
    words: str


def verify_rig(session: Session, rig: RigCalibration) -> Verification:
    """Solve the session's boards (and, where an arm held them, the robot's place) and compare.

    Raises:
        CalibrationError: the session's cameras are not the rig's, it cannot be solved, or nothing
            in it can be compared.
    """
    missing = [name for name in session.names if name not in rig.names]
    if missing:
        raise CalibrationError(f"rig '{rig.name}' has no cameras {missing}; it has {rig.names}")
    if len(session.names) == 1 and not session.gripper:
        raise CalibrationError(
            f"session '{session.name}' has one camera and no arm held the board: nothing in it can "
            "tell whether the camera moved"
        )
    coarse = solve_bundle(session)
    known = rig.camera(session.reference).base_from_camera
    corners = transform_points(invert(known), session.workspace.corners_m)
    motions = []
    # The reference cannot be seen to move: where it did, all the others seem to have.
    for k, name in enumerate(session.names[1:]):
        before = invert(known) @ rig.camera(name).base_from_camera
        # On the left, in the reference's frame, where the covariance's twists act as well.
        step = coarse.rig.pose(name) @ invert(before)
        rows = slice(6 * k, 6 * k + 6)
        covariance = np.asarray(coarse.rig.covariance)[rows, rows]
        motions.append(_motion(name, step, corners, covariance))
    robot, unchecked = _robot(session, coarse, rig)
    motions += robot
    if not motions:
        raise CalibrationError(
            f"nothing in session '{session.name}' could be compared with rig "
            f"'{rig.name}'{unchecked}"
        )
    gone = [motion for motion in motions if motion.gone]
    if gone:
        said = ", ".join(f"{m.name} by {m.moved_m * 1e3:.1f} mm" for m in gone)
        words = (
            f"rig '{rig.name}' does not hold: moved against {session.reference}: {said} (allowed "
            f"{LARGEST_MOTION_M * 1e3:g} mm or {LARGEST_SIGMAS:g} sigma); calibrate again"
        )
        return Verification(tuple(motions), False, words)
    return Verification(tuple(motions), True, f"rig '{rig.name}' holds{unchecked}")


def _robot(
    session: Session, coarse: CoarseResult, rig: RigCalibration
) -> tuple[list[CameraMotion], str]:
    """The robot's base against the reference camera; nothing, and why, where it cannot be told."""
    if not session.gripper:
        return [], "; the robot's place was not checked: no arm held the board"
    with_lenses = replace(session, cameras=coarse.cameras) if coarse.cameras else session
    try:
        found = solve_hand_eye(with_lenses, coarse)
    except CalibrationError as error:
        return [], f"; the robot's place was not checked: {error}"
    step = found.base_from_reference @ invert(rig.camera(session.reference).base_from_camera)
    corners = session.workspace.corners_m
    return [_motion(rig.base_frame, step, corners, found.covariance)], ""


def _motion(name: str, step: Float64, points: Float64, covariance: Float64) -> CameraMotion:
    """What `step` [4, 4] does to points [N, 3] of its frame; the sigmas are of its twist's
    `covariance` [6, 6], and the old calibration is taken to be as uncertain."""
    away = transform_points(step, points) - points
    jacobian = point_jacobian(points)
    spread = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
    sigma = np.sqrt(2.0 * np.trace(spread, axis1=1, axis2=2))
    moved_m = float(np.sqrt((away**2).sum(axis=1).mean()))
    sigmas = float(np.sqrt(((away**2).sum(axis=1) / sigma**2).mean()))
    return CameraMotion(name, moved_m, rotation_angle_rad(step[:3, :3]), sigmas)
