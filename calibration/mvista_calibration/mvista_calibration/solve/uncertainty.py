"""What covariances mean in millimetres, resampling, and errors against a known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mvista_calibration.records import (
    Calibration,
    RigEstimate,
    Session,
    WorkspaceBox,
)
from mvista_calibration.twists import point_jacobian, twist_between
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64

GRID = 4
"""Points per side of the workspace in `rig_error`."""
JACKKNIFE_GROUPS = 8
LEAST_SHOTS = 4


def corner_sd(
    rig: RigEstimate, base_from_reference: Float64 | None, workspace: WorkspaceBox
) -> Float64:
    """1-sigma position error [C, 8] m of each camera's points at the workspace's corners.

    Relative to the reference camera, whose row is zero. Without `base_from_reference` the
    workspace is taken in the reference camera's own frame.

    Raises:
        CalibrationError: the estimate has no covariance.
    """
    if rig.covariance is None:
        raise CalibrationError(f"stage '{rig.stage}' gives no covariance, so no sigma at corners")
    corners = workspace.corners_m
    if base_from_reference is not None:
        corners = transform_points(invert(base_from_reference), corners)
    jacobian = point_jacobian(corners)
    rows = [np.zeros(len(corners))]
    for k in range(len(rig.cameras) - 1):
        block = rig.covariance[6 * k : 6 * k + 6, 6 * k : 6 * k + 6]
        # cov(p) = J P J^T; the root of its trace is the 1-sigma length of the point's error.
        at_points = jacobian @ block @ jacobian.transpose(0, 2, 1)
        rows.append(np.sqrt(np.trace(at_points, axis1=1, axis2=2)))
    return np.stack(rows)


def camera_covariance(calibration: Calibration, index: int) -> Float64 | None:
    """Covariance [6, 6] of one camera's `base_from_camera` twist (m, rad), base frame.

    The camera's own against the reference, carried into the base, plus the robot's; None where the
    estimate has none.
    """
    rig, base = calibration.rig, calibration.base_from_reference
    if rig.covariance is None:
        return None
    own = np.zeros((6, 6))
    if index > 0:
        rows = slice(6 * (index - 1), 6 * index)
        own = rig.covariance[rows, rows]
    if base is None:
        return np.asarray(own)
    carried = _adjoint(base)
    own = carried @ own @ carried.T
    robot = calibration.hand_eye.covariance if calibration.hand_eye is not None else 0.0
    return np.asarray(own + robot)


def _adjoint(pose: Float64) -> Float64:
    """Twists of frame b to those of frame a for `pose` = a_from_b, (translation, rotation)."""
    turn, (x, y, z) = pose[:3, :3], pose[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.block([[turn, cross @ turn], [np.zeros((3, 3)), turn]])


def jackknife(
    session: Session, solve: Callable[[Session], RigEstimate], groups: int = JACKKNIFE_GROUPS
) -> Float64:
    """Covariance [6 (C - 1), 6 (C - 1)] of the twists, by leaving out groups of shots.

    It sees what the formal covariance cannot: shots that disagree (a board that moved, a lens
    model that fits one region only).

    Raises:
        CalibrationError: fewer than `LEAST_SHOTS` shots.
    """
    shots = session.shots
    if len(shots) < LEAST_SHOTS:
        raise CalibrationError(
            f"session '{session.name}' has {len(shots)} shots; a jackknife needs {LEAST_SHOTS}"
        )
    # Every n-th shot, not runs of neighbours: places near each other would leave together.
    parts = [shots[k :: min(groups, len(shots))] for k in range(min(groups, len(shots)))]
    if len(session.names) == 1:  # the reference alone: it cannot move against itself
        return np.zeros((0, 0))
    estimates = [solve(_without(session, set(part))) for part in parts]
    twists = np.stack(
        [
            np.concatenate(
                [
                    twist_between(estimate.pose(name), estimates[0].pose(name))
                    for name in session.names[1:]
                ]
            )
            for estimate in estimates
        ]
    )
    # Delete-a-group jackknife (Efron 1982): (g - 1) / g times the sum of squares.
    spread = twists - twists.mean(axis=0)
    return np.asarray((len(parts) - 1) / len(parts) * spread.T @ spread)


@dataclass(frozen=True)
class RigAccuracy:
    """Position error of the other cameras' points over the workspace, m, against the truth."""

    rms_m: float
    p90_m: float
    per_camera_m: Float64


def rig_error(
    rig: RigEstimate,
    reference_from_camera: NDArray[np.floating],
    workspace: WorkspaceBox,
    base_from_reference: Float64 | None = None,
) -> RigAccuracy:
    """Error of an estimate against true poses [C, 4, 4] over a grid of the workspace."""
    points = workspace_grid(workspace, base_from_reference)
    errors = [np.zeros(len(points))] if len(rig.reference_from_camera) == 1 else []
    for estimate, truth in zip(
        rig.reference_from_camera[1:], reference_from_camera[1:], strict=True
    ):
        seen = transform_points(invert(truth), points)
        errors.append(np.linalg.norm(transform_points(estimate, seen) - points, axis=1))
    stacked = np.stack(errors)
    return RigAccuracy(
        float(np.sqrt((stacked**2).mean())),
        float(np.quantile(stacked, 0.9)),
        np.sqrt((stacked**2).mean(axis=1)),
    )


def workspace_grid(workspace: WorkspaceBox, base_from_reference: Float64 | None) -> Float64:
    """Points [GRID^3, 3] of the workspace in the reference camera's frame."""
    axes = [
        np.linspace(low, high, GRID)
        for low, high in zip(workspace.lower_m, workspace.upper_m, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if base_from_reference is None:
        return points
    return transform_points(invert(base_from_reference), points)


def _without(session: Session, shots: set[int]) -> Session:
    return replace(
        session,
        views=tuple(view for view in session.views if view.shot not in shots),
        board_depth=tuple(image for image in session.board_depth if image.shot not in shots),
        gripper=tuple(pose for pose in session.gripper if pose.shot not in shots),
    )
