"""Simulated calibration sessions: exact without errors, spoilt only where they say so."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mvista_calibration.records import DepthBias, RigEstimate, Session
from mvista_calibration_sim.sessions import (
    SessionSettings,
    SimulatedSession,
    SimulationTruth,
    pixel_rays,
    simulate_session,
)
from mvista_calibration_sim.tof_depth import DepthSettings
from mvista_calibration_sim.truth import true_fused_disagreement
from mvista_calibration_sim.world import SPOILERS
from mvista_core.arm import ArmModel
from mvista_core.errors import CalibrationError
from mvista_core.geometry import back_project, invert, is_pose, transform_points

pytestmark = pytest.mark.slow

PERFECT_DEPTH = DepthSettings(
    offset_sd_m=0.0, scale_sd=0.0, wiggle_m=0.0, noise_m=0.0, fixed_pattern_m=0.0, ink_m=0.0
)
EXACT = SessionSettings(
    shots=5,
    corner_noise_px=0.0,
    focal_error=0.0,
    centre_error_px=0.0,
    board_scale_sd=0.0,
    arm_error_m=0.0,
    arm_error_rad=0.0,
    depth_width_px=320,
    depth=PERFECT_DEPTH,
)


@pytest.fixture(scope="module")
def exact() -> SimulatedSession:
    return simulate_session(3, EXACT)


def reprojected(session: Session, truth: SimulationTruth) -> float:
    """Greatest distance of any corner from where the truth puts it, px."""
    worst = 0.0
    for view in session.views:
        index = session.names.index(view.camera)
        camera_from_board = (
            invert(truth.reference_from_camera[index])
            @ invert(truth.base_from_reference)
            @ truth.base_from_board[view.shot]
        )
        lens = session.camera(view.camera).intrinsics
        pixels, _ = cv2.projectPoints(
            transform_points(camera_from_board, session.board.corners_m[view.corner_ids]),
            np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion),
        )  # fmt: skip
        worst = max(worst, float(np.abs(pixels.reshape(-1, 2) - view.corners_px).max()))
    return worst


def test_corners_without_errors_lie_where_the_truth_projects_them(exact: SimulatedSession) -> None:
    assert reprojected(exact.session, exact.truth) < 1e-6


def test_a_seed_is_a_session(exact: SimulatedSession) -> None:
    again = simulate_session(3, EXACT)
    assert np.array_equal(again.session.scene[2].depth_m, exact.session.scene[2].depth_m)
    assert np.array_equal(again.session.views[1].corners_px, exact.session.views[1].corners_px)
    other = simulate_session(4, EXACT)
    assert not np.allclose(other.truth.reference_from_camera, exact.truth.reference_from_camera)


def test_every_camera_puts_the_bare_table_at_height_zero(exact: SimulatedSession) -> None:
    session, truth = exact.session, exact.truth
    for index, image in enumerate(session.scene):
        rays = pixel_rays(session.camera(image.camera).depth_intrinsics)
        points = (rays * image.depth_m[..., None])[image.depth_m > 0]
        pose = truth.base_from_reference @ truth.reference_from_camera[index]
        heights = transform_points(pose, points)[:, 2]
        on_table = np.abs(heights) < 0.004
        assert on_table.mean() > 0.4
        assert np.abs(np.median(heights[on_table])) < 1e-4


def test_depth_at_the_corners_is_the_boards(exact: SimulatedSession) -> None:
    session, truth = exact.session, exact.truth
    for image in session.board_depth:
        view = next(v for v in session.views if (v.camera, v.shot) == (image.camera, image.shot))
        index = session.names.index(image.camera)
        pose = invert(truth.base_from_reference @ truth.reference_from_camera[index])
        points = transform_points(
            pose @ truth.base_from_board[view.shot], session.board.corners_m[view.corner_ids]
        )
        pixels = ((view.corners_px + 0.5) / 12 - 0.5).round().astype(int)
        depth = image.depth_m[pixels[:, 1], pixels[:, 0]]
        assert (np.abs(depth - points[:, 2])[depth > 0] < 8e-3).mean() > 0.9


def test_units_are_wrong_by_their_own_offset(exact: SimulatedSession) -> None:
    biased = replace(EXACT, depth=replace(PERFECT_DEPTH, offset_sd_m=0.005))
    noisy = simulate_session(3, biased)
    for index, image in enumerate(noisy.session.scene):
        clean = exact.session.scene[index].depth_m
        both = (image.depth_m > 0) & (clean > 0)
        error = float(np.median(image.depth_m[both] - clean[both]))
        offset = float(noisy.truth.depth_offset_m[index])
        assert abs(error - offset) < 0.15 * abs(offset) + 1e-4


def test_the_arm_holds_the_board_where_it_says(arm: ArmModel) -> None:
    held = simulate_session(0, replace(EXACT, arm=arm, shots=6))
    truth = held.truth
    assert truth.gripper_from_board is not None
    for pose in held.session.gripper:
        expected = truth.base_from_board[pose.shot]
        assert is_pose(pose.base_from_gripper)
        assert np.allclose(pose.base_from_gripper @ truth.gripper_from_board, expected, atol=1e-9)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_spoilt_session_no_longer_fits_the_truth(spoil: str, exact: SimulatedSession) -> None:
    clean, spoilt = exact, simulate_session(3, EXACT, spoil)
    assert spoilt.truth.detail
    assert spoilt.truth.spoil == spoil
    fewer = len(spoilt.session.views) < len(clean.session.views)
    moved = not np.allclose(
        spoilt.truth.reference_from_camera, spoilt.truth.scene_reference_from_camera
    )
    swapped = any(
        not np.array_equal(a.depth_m, b.depth_m)
        for a, b in zip(clean.session.scene, spoilt.session.scene, strict=True)
    )
    assert fewer or moved or swapped or reprojected(spoilt.session, spoilt.truth) > 1.0


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(CalibrationError, match="misprint_1pct"):
        simulate_session(0, EXACT, "coffee")
    with pytest.raises(CalibrationError, match="sim_cell"):
        SessionSettings(rig="lab")
    with pytest.raises(CalibrationError, match="1280"):
        SessionSettings(depth_width_px=1000)


def test_pixel_rays_invert_a_plain_lens(exact: SimulatedSession) -> None:
    lens = replace(exact.session.cameras[0].depth_intrinsics, distortion=())
    rays = pixel_rays(lens)
    depth = np.full(rays.shape[:2], 0.7)
    assert np.allclose(rays * 0.7, back_project(depth, lens.matrix), atol=1e-6)


def test_exact_cameras_put_a_point_where_it_is(exact: SimulatedSession) -> None:
    rig = RigEstimate(exact.session.names, exact.truth.reference_from_camera, None, "truth")
    assert true_fused_disagreement(exact, rig) < 1e-6


def test_the_units_own_bias_is_what_sets_clouds_apart() -> None:
    biased = simulate_session(3, replace(EXACT, depth=replace(PERFECT_DEPTH, offset_sd_m=0.005)))
    truth = biased.truth
    rig = RigEstimate(biased.session.names, truth.reference_from_camera, None, "truth")
    known = [
        DepthBias(name, float(offset), 0.0)
        for name, offset in zip(biased.session.names, truth.depth_offset_m, strict=True)
    ]
    apart, corrected = (
        true_fused_disagreement(biased, rig),
        true_fused_disagreement(biased, rig, known),
    )
    assert apart > 3e-3
    assert corrected < 0.2 * apart
