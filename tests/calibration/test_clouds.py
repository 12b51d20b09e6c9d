"""Scene clouds: points lie on the surfaces, edges and far things are gone, bad depth is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mvista_calibration.records import DepthBias
from mvista_calibration.solve.clouds import (
    JUMP_M,
    VOXEL_M,
    middle_of,
    points_of,
    scene_clouds,
    without_flying,
)
from mvista_calibration_sim.sessions import SessionSettings, SimulatedSession, simulate_session
from mvista_calibration_sim.tof_depth import DepthSettings
from mvista_core.errors import CalibrationError
from mvista_core.geometry import transform_points
from mvista_core.records import Intrinsics
from tests.calibration.truths import coarse_of_truth

pytestmark = pytest.mark.slow

EXACT = SessionSettings(
    shots=3,
    focal_error=0.0,
    centre_error_px=0.0,
    depth_width_px=640,
    depth=DepthSettings(
        offset_sd_m=0.0, scale_sd=0.0, wiggle_m=0.0, noise_m=0.0, fixed_pattern_m=0.0
    ),
)


@pytest.fixture(scope="module")
def simulated() -> SimulatedSession:
    return simulate_session(5, EXACT)


def test_exact_clouds_of_all_cameras_share_the_table(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    clouds = scene_clouds(simulated.session, coarse.rig, (), middle_of(coarse.reference_from_board))
    assert tuple(cloud.camera for cloud in clouds) == simulated.session.names
    for cloud in clouds:
        base = simulated.truth.base_from_reference @ coarse.rig.pose(cloud.camera)
        points = transform_points(base, cloud.points)
        normals = cloud.normals @ base[:3, :3].T
        upward = normals[:, 2] > 0.99
        table = upward & (np.abs(points[:, 2]) < 3e-3)
        assert table.sum() > 1000
        assert np.abs(np.median(points[table, 2])) < 2e-4
        assert points[:, 2].min() > -0.06


def test_normals_are_unit_and_look_at_the_camera(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    for cloud in scene_clouds(simulated.session, coarse.rig, ()):
        assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1.0)
        assert ((cloud.normals * cloud.points).sum(axis=1) <= 1e-9).all()


def test_a_crop_keeps_only_what_is_near(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    centre = middle_of(coarse.reference_from_board)
    for cloud in scene_clouds(simulated.session, coarse.rig, (), centre, 0.4):
        away = transform_points(coarse.rig.pose(cloud.camera), cloud.points) - centre
        assert np.linalg.norm(away, axis=1).max() < 0.4 + VOXEL_M


def test_bias_moves_points_along_their_rays(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    plain = scene_clouds(simulated.session, coarse.rig, ())
    biased = scene_clouds(simulated.session, coarse.rig, [DepthBias("cam1", 0.01, 1e-3)])
    assert np.array_equal(plain[0].points, biased[0].points)
    before, after = np.median(plain[1].points[:, 2]), np.median(biased[1].points[:, 2])
    assert abs(before - after - 0.01) < 4e-3
    assert np.allclose(plain[1].rays[:, 2], 1.0)


def test_points_go_through_the_lens() -> None:
    lens = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5, (0.1, -0.05, 0.0, 0.0, 0.0))
    depth = np.full((48, 64), 2.0, dtype=np.float32)
    depth[0, 0] = 0.0
    points = points_of(depth, lens)
    assert np.isnan(points[0, 0]).any()
    assert np.allclose(points[23:25, 31:33].mean(axis=(0, 1)), [0.0, 0.0, 2.0], atol=1e-9)
    # Barrel-free pinhole would put the border farther in than this lens does.
    pinhole = (63 - 31.5) / 50.0 * 2.0
    assert abs(points[24, 63, 0] - pinhole) > 0.01


def test_points_beside_a_jump_are_dropped() -> None:
    lens = Intrinsics(40, 30, 40.0, 40.0, 19.5, 14.5)
    depth = np.full((30, 40), 1.0, dtype=np.float32)
    depth[:, 20:] = 1.0 + 2 * JUMP_M
    kept = without_flying(points_of(depth, lens))
    assert len(kept) == 30 * 38
    depth[:, 20:] = 1.0 + 0.5 * JUMP_M
    assert len(without_flying(points_of(depth, lens))) == 30 * 40


def test_unusable_depth_is_refused_by_camera(simulated: SimulatedSession) -> None:
    session, coarse = simulated.session, coarse_of_truth(simulated)
    first, second, *rest = session.scene
    with pytest.raises(CalibrationError, match="cam1: no depth image"):
        scene_clouds(replace(session, scene=(first, *rest)), coarse.rig, ())
    metres = replace(second, depth_m=second.depth_m * 1000)
    with pytest.raises(CalibrationError, match="cam1.*millimetres"):
        scene_clouds(replace(session, scene=(first, metres, *rest)), coarse.rig, ())
    small = replace(second, depth_m=second.depth_m[::2, ::2])
    with pytest.raises(CalibrationError, match="resolution"):
        scene_clouds(replace(session, scene=(first, small, *rest)), coarse.rig, ())
    blank = replace(second, depth_m=np.zeros_like(second.depth_m))
    with pytest.raises(CalibrationError, match="cam1.*0 valid pixels"):
        scene_clouds(replace(session, scene=(first, blank, *rest)), coarse.rig, ())


def test_a_camera_that_looks_elsewhere_is_named(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    with pytest.raises(CalibrationError, match="cam0.*crop"):
        scene_clouds(simulated.session, coarse.rig, (), np.array([0.0, 0.0, -5.0]))
