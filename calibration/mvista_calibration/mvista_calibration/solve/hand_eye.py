"""Where the reference camera stands before the robot: eye-to-hand, the board on the gripper.

For every shot i: base_from_gripper_i @ gripper_from_board = base_from_reference @
reference_from_board_i. `reference_from_board` comes from the bundle adjustment of all cameras, so
all of them are refined jointly. OpenCV 5.0 lacks `calibrateHandEye`; the closed form that is used
is our own, OpenCV's are asked for their opinion where they exist.
"""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mvista_calibration.records import CoarseResult, HandEyeResult, Session
from mvista_calibration.solve.bundle import CENTRE_SD, FOCAL_SD
from mvista_calibration.twists import moved
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, pose_from
from mvista_core.records import Float64

LEAST_SHOTS = 5
LEAST_AXIS_SPREAD = 0.25
"""Smallest singular value of the unit rotation axes; real sets: good 0.32-0.41, bad 0.05-0.16."""
LEAST_TURN_RAD = np.deg2rad(5.0)
ARM_SD_M, ARM_SD_RAD = 1e-3, np.deg2rad(0.1)
"""Where the reweighting of translation against rotation starts."""
LEAST_SD_M, LEAST_SD_RAD = 1e-5, 1e-5


def solve_hand_eye(session: Session, coarse: CoarseResult) -> HandEyeResult:
    """Closed form, then refinement of base_from_reference and gripper_from_board.

    Raises:
        CalibrationError: too few shots with an arm pose, or too little rotation between them.
    """
    base_from_gripper, reference_from_board = _paired(session, coarse)
    spread = axis_spread(base_from_gripper)
    if spread < LEAST_AXIS_SPREAD:
        raise CalibrationError(
            f"session '{session.name}': the arm turned too little between shots (axis spread "
            f"{spread:.2f}, at least {LEAST_AXIS_SPREAD}); turn the wrist about at least two axes, "
            "by 30 degrees and more"
        )
    start = robot_world(base_from_gripper, reference_from_board)
    others = _opinions(base_from_gripper, reference_from_board)
    distances = [float(np.linalg.norm(x[:3, 3] - start[0][:3, 3])) for x in others]
    fixed = _refine(base_from_gripper, reference_from_board, start, free_scale=False)
    free = _refine(base_from_gripper, reference_from_board, fixed.poses, free_scale=True)
    # A wrong focal length moves all boards alike, which no residual shows: added, not fitted.
    covariance = fixed.covariance[:6, :6] + _lens_covariance(session, coarse, fixed.poses[0])
    return HandEyeResult(
        fixed.poses[0],
        fixed.poses[1],
        covariance,
        spread,
        max(distances, default=0.0),
        free.scale,
        float(np.sqrt(free.covariance[12, 12])),
        fixed.residual_m,
        fixed.residual_rad,
    )


def axis_spread(poses: Float64) -> float:
    """Smallest singular value of the unit axes of all rotations between poses [N, 4, 4].

    At most 0.58 (axes all round); 0 when all turn about one axis, or none does.
    """
    axes = []
    for a, b in combinations(poses, 2):
        turn = Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).as_rotvec()
        if (angle := np.linalg.norm(turn)) > LEAST_TURN_RAD:
            axes.append(turn / angle)
    if len(axes) < 3:
        return 0.0
    singular = np.linalg.svd(np.stack(axes) / np.sqrt(len(axes)), compute_uv=False)
    return float(singular[-1])


def robot_world(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """X, Z of `a_i @ Z = X @ b_i` for poses [N, 4, 4], by the Kronecker product (Shah 2013)."""
    # R_a Z R_b^T = X for all i: vec(Z) and vec(X) are the leading right and left singular vectors
    # of the sum of R_a (x) R_b.
    gram = sum(np.kron(p[:3, :3], q[:3, :3]) for p, q in zip(a, b, strict=True))
    u, _, vt = np.linalg.svd(np.asarray(gram))
    z = _nearest_rotation(vt[0].reshape(3, 3))
    x = _nearest_rotation(u[:, 0].reshape(3, 3))
    # The singular vectors' common sign is free: a rotation's determinant fixes it.
    # With the rotations known, t_x - R_a t_z = t_a - X t_b is linear.
    rows = [np.hstack([np.eye(3), -p[:3, :3]]) for p in a]
    right = [p[:3, 3] - x @ q[:3, 3] for p, q in zip(a, b, strict=True)]
    t = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
    return pose_from(x, t[:3]), pose_from(z, t[3:])


def _nearest_rotation(matrix: Float64) -> Float64:
    if np.linalg.det(matrix) < 0:
        matrix = -matrix
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)


class _Fit:
    """Result of one refinement: poses (X, Z), scale, covariance [13, 13], residuals' RMS."""

    def __init__(
        self, poses: tuple[Float64, Float64], scale: float, covariance: Float64, rms: Float64
    ) -> None:
        self.poses, self.scale, self.covariance = poses, scale, covariance
        self.residual_m, self.residual_rad = float(rms[0]), float(rms[1])


def _refine(a: Float64, b: Float64, start: tuple[Float64, Float64], free_scale: bool) -> _Fit:
    """Least squares over the arm's own disagreement, translation and rotation reweighted."""
    sd = np.array([ARM_SD_M, ARM_SD_RAD])
    count = 13 if free_scale else 12
    values = np.zeros(13)
    a_inverse = np.stack([invert(pose) for pose in a])

    def residuals(free: Float64, weights: Float64) -> Float64:
        full = np.zeros(13)
        full[:count] = free
        x, z, scale = moved(start[0], full[:6]), moved(start[1], full[6:12]), 1.0 + full[12]
        twists = _arm_errors(a_inverse, b, x, z, scale)
        return np.asarray((twists / weights).ravel())

    # How an arm's errors split into metres and radians is not known beforehand: each round weighs
    # by what the one before left over.
    for _ in range(4):
        weights = np.repeat(sd, 3)
        found = least_squares(
            residuals, values[:count], args=(weights,), loss="soft_l1", x_scale=1e-3
        )
        values[:count] = found.x
        twists = residuals(found.x, np.ones(6)).reshape(-1, 6)
        # Each half of a twist carries about half of the parameters.
        freedom = max(3 * len(a) - count / 2, 1.0)
        sd = np.array(
            [
                max(np.sqrt((twists[:, :3] ** 2).sum() / freedom), LEAST_SD_M),
                max(np.sqrt((twists[:, 3:] ** 2).sum() / freedom), LEAST_SD_RAD),
            ]
        )
    # Without the robust loss at the end: of whitened residuals (J^T J)^-1 is the covariance.
    found = least_squares(residuals, values[:count], args=(np.repeat(sd, 3),), x_scale=1e-3)
    values[:count] = found.x
    covariance = np.zeros((13, 13))
    jacobian = np.asarray(found.jac)
    covariance[:count, :count] = np.linalg.pinv(jacobian.T @ jacobian)
    twists = residuals(found.x, np.ones(6)).reshape(-1, 6)
    rms = np.sqrt(
        np.array([(twists[:, :3] ** 2).sum(1).mean(), (twists[:, 3:] ** 2).sum(1).mean()])
    )
    poses = moved(start[0], values[:6]), moved(start[1], values[6:12])
    return _Fit(poses, 1.0 + float(values[12]), covariance, rms)


def _arm_errors(a_inverse: Float64, b: Float64, x: Float64, z: Float64, scale: float) -> Float64:
    """What each reported arm pose lacks to agree, as twists [N, 6] at the gripper."""
    # A^-1 X B Z^-1 = 1 for an arm without errors.
    scaled = b.copy()
    scaled[:, :3, 3] *= scale
    steps = a_inverse @ x @ scaled @ invert(z)
    return np.concatenate([steps[:, :3, 3], _rotation_vectors(steps[:, :3, :3])], axis=1)


def _rotation_vectors(turns: Float64) -> Float64:
    """Rotation vectors [N, 3] of matrices [N, 3, 3] well below half a turn."""
    odd = 0.5 * (turns - turns.transpose(0, 2, 1))
    vectors = np.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], axis=1)
    sine = np.linalg.norm(vectors, axis=1)
    angle = np.arctan2(sine, 0.5 * (np.trace(turns, axis1=1, axis2=2) - 1.0))
    factor = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-12), 1.0)
    return np.asarray(vectors * factor[:, None])


def _opinions(a: Float64, b: Float64) -> list[Float64]:
    """base_from_reference by OpenCV's solvers, where this OpenCV has them.

    Daniilidis' is not asked: of six good simulated sets it was off by 67 and 136 mm on two.
    """
    solve = getattr(cv2, "calibrateHandEye", None)
    if solve is None:
        return []
    inverse = [invert(pose) for pose in a]
    turns, shifts = [p[:3, :3] for p in inverse], [p[:3, 3] for p in inverse]
    board_turns, board_shifts = [p[:3, :3] for p in b], [p[:3, 3] for p in b]
    found = []
    for method in ("TSAI", "PARK", "HORAUD"):
        # By keyword: as the fifth positional argument the method would be taken for an output.
        turn, shift = solve(
            turns,
            shifts,
            board_turns,
            board_shifts,
            method=getattr(cv2, f"CALIB_HAND_EYE_{method}"),
        )
        if np.isfinite(turn).all() and np.isfinite(shift).all():
            found.append(pose_from(turn, np.asarray(shift).reshape(3)))
    return found


def _paired(session: Session, coarse: CoarseResult) -> tuple[Float64, Float64]:
    arm = {pose.shot: pose.base_from_gripper for pose in session.gripper}
    both = [k for k, shot in enumerate(coarse.shots) if shot in arm]
    if len(both) < LEAST_SHOTS:
        raise CalibrationError(
            f"session '{session.name}': {len(both)} shots have an arm pose and a board that was "
            f"found; at least {LEAST_SHOTS}, better 15"
        )
    base_from_gripper = np.stack([arm[coarse.shots[k]] for k in both])
    return base_from_gripper, np.asarray(coarse.reference_from_board[both])


def _lens_covariance(
    session: Session, coarse: CoarseResult, base_from_reference: Float64
) -> Float64:
    """What wrong intrinsics of the reference camera shift all boards by, as a translation."""
    k = session.camera(session.reference).intrinsics
    distance_m = float(np.median(coarse.reference_from_board[:, 2, 3]))
    across = CENTRE_SD * k.width_px / k.fx_px * distance_m
    local = np.diag(np.square([across, across, FOCAL_SD * distance_m]))
    turn = base_from_reference[:3, :3]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = turn @ local @ turn.T
    return covariance
