"""Eye-to-hand: exact data gives the exact answer, the arm's error stays in bounds, and refusals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvista_calibration.records import (
    Board,
    CoarseResult,
    GripperPose,
    HandEyeResult,
    RigEstimate,
    Session,
    SessionCamera,
)
from mvista_calibration.solve.hand_eye import (
    LEAST_AXIS_SPREAD,
    axis_spread,
    robot_world,
    solve_hand_eye,
)
from mvista_calibration.twists import moved, twist_between
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, look_at, pose_from, transform_points
from mvista_core.records import Intrinsics

BOARD = Board(7, 5, 0.03, 0.022)
LENS = Intrinsics(3840, 2160, 2288.0, 2288.0, 1919.5, 1079.5)
BASE_FROM_REFERENCE = look_at(np.array([0.9, -0.8, 0.65]), np.array([0.35, 0.0, 0.1]))


@dataclass(frozen=True)
class Shots:
    session: Session
    coarse: CoarseResult


def shots(
    seed: int,
    count: int = 15,
    arm_m: float = 0.0,
    arm_rad: float = 0.0,
    tilt_rad: float = 0.6,
    board_m: float = 0.0,
    scale: float = 1.0,
    one_axis: bool = False,
) -> Shots:
    """Board held by the gripper about 0.35 m before the base; `scale`: what the board lacks."""
    rng = np.random.default_rng(seed)
    gripper_from_board = pose_from(
        Rotation.from_euler("xyz", [0.1, -0.2, 1.0]).as_matrix(), np.array([0.03, -0.02, 0.05])
    )
    arm, boards = [], []
    for shot in range(count):
        turn = rng.uniform(-tilt_rad, tilt_rad, 3)
        if one_axis:
            turn[:2] = 0.0
        place = np.array([0.35, 0.0, 0.25]) + rng.uniform(-0.15, 0.15, 3)
        true = pose_from(
            Rotation.from_euler("xyz", turn + np.array([np.pi, 0, 0])).as_matrix(), place
        )
        error = np.concatenate([rng.normal(0, arm_m, 3), rng.normal(0, arm_rad, 3)])
        arm.append(GripperPose(shot, true @ moved(np.eye(4), error)))
        board = invert(BASE_FROM_REFERENCE) @ true @ gripper_from_board
        board = moved(board, np.concatenate([rng.normal(0, board_m, 3), np.zeros(3)]))
        board[:3, 3] /= scale
        boards.append(board)
    camera = SessionCamera("cam0", LENS, LENS)
    session = Session("s", BOARD, (camera,), (), gripper=tuple(arm))
    rig = RigEstimate(("cam0",), np.eye(4)[None], np.zeros((0, 0)), "bundle")
    return Shots(session, CoarseResult(rig, tuple(range(count)), np.stack(boards), (), ()))


def workspace_error_m(found: HandEyeResult) -> float:
    grid = np.stack(np.meshgrid([0.05, 0.65], [-0.3, 0.3], [0.0, 0.3]), -1).reshape(-1, 3)
    seen = transform_points(invert(BASE_FROM_REFERENCE), grid)
    errors = transform_points(found.base_from_reference, seen) - grid
    return float(np.sqrt((errors**2).sum(1).mean()))


def test_exact_shots_give_the_exact_answer_and_scale() -> None:
    made = shots(0, scale=1.01)
    exact = shots(0)
    x, z = robot_world(
        np.stack([p.base_from_gripper for p in exact.session.gripper]),
        exact.coarse.reference_from_board,
    )
    assert np.allclose(x, BASE_FROM_REFERENCE, atol=1e-9) and np.linalg.det(z[:3, :3]) > 0
    found = solve_hand_eye(exact.session, exact.coarse)
    assert workspace_error_m(found) < 1e-6 and found.solver_spread_m < 1e-3
    assert solve_hand_eye(made.session, made.coarse).board_scale == pytest.approx(1.01, abs=1e-6)


def test_moving_the_base_frame_moves_the_answer_with_it() -> None:
    made = shots(1, arm_m=1e-3, arm_rad=2e-3)
    elsewhere = moved(np.eye(4), np.array([0.3, -0.1, 0.2, 0.1, 0.4, -0.3]))
    gripper = tuple(
        GripperPose(p.shot, elsewhere @ p.base_from_gripper) for p in made.session.gripper
    )
    session = Session("s", BOARD, made.session.cameras, (), gripper=gripper)
    a = solve_hand_eye(made.session, made.coarse)
    b = solve_hand_eye(session, made.coarse)
    assert (
        np.abs(twist_between(b.base_from_reference, elsewhere @ a.base_from_reference)).max() < 1e-6
    )


def test_an_arm_error_of_1_mm_and_a_tenth_of_a_degree_stays_below_3_mm() -> None:
    errors, scales, inside = [], [], []
    for seed in range(8):
        made = shots(seed, arm_m=1e-3, arm_rad=np.deg2rad(0.1), board_m=2e-4)
        found = solve_hand_eye(made.session, made.coarse)
        errors.append(workspace_error_m(found))
        scales.append((found.board_scale - 1.0) / found.board_scale_sd)
        twist = twist_between(BASE_FROM_REFERENCE, found.base_from_reference)
        inside.append(np.abs(twist) < 2.5 * np.sqrt(np.diag(found.covariance)))
    assert np.sqrt(np.mean(np.square(errors))) < 3e-3
    assert np.abs(scales).max() < 4.0
    assert np.mean(inside) > 0.9


def test_a_board_printed_one_per_cent_too_large_shows_against_the_arm() -> None:
    for seed in range(3):
        made = shots(seed, arm_m=1e-3, arm_rad=np.deg2rad(0.1), board_m=2e-4, scale=1.01)
        found = solve_hand_eye(made.session, made.coarse)
        assert abs(found.board_scale - 1.01) < 4 * found.board_scale_sd
        assert found.board_scale - 1.0 > 3 * found.board_scale_sd


@pytest.mark.parametrize("one_axis", [True, False])
def test_too_little_rotation_is_refused(one_axis: bool) -> None:
    made = shots(0, tilt_rad=0.5 if one_axis else 0.02, one_axis=one_axis)
    poses = np.stack([p.base_from_gripper for p in made.session.gripper])
    assert axis_spread(poses) < LEAST_AXIS_SPREAD
    with pytest.raises(CalibrationError, match="turned too little"):
        solve_hand_eye(made.session, made.coarse)


def test_too_few_shots_are_refused() -> None:
    made = shots(0, count=4)
    with pytest.raises(CalibrationError, match="4 shots have an arm pose"):
        solve_hand_eye(made.session, made.coarse)


def test_opencv_without_hand_eye_solvers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 5.0 lacks them."""
    import cv2

    made = shots(2)
    monkeypatch.delattr(cv2, "calibrateHandEye", raising=False)
    found = solve_hand_eye(made.session, made.coarse)
    assert workspace_error_m(found) < 1e-6
