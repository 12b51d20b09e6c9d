"""Depth registered to colour, against scenes of known depth and other people's projections."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_cameras.emulator.camera import scaled_to
from mvista_cameras.emulator.scene import (
    COLOR_FROM_DEPTH,
    FEMTO_BOLT_COLOR,
    FEMTO_BOLT_DEPTH,
    Scene,
)
from mvista_core.errors import CameraError, ObservationError
from mvista_core.geometry import invert, pose_from
from mvista_core.lens import distort, pixel_rays, undistort
from mvista_core.records import Intrinsics
from mvista_core.registration import Registration, StreamCalibration

COLOR = scaled_to(FEMTO_BOLT_COLOR, 640, 360)
DEPTH = scaled_to(FEMTO_BOLT_DEPTH, 320, 288)
CALIBRATION = StreamCalibration(COLOR, DEPTH, COLOR_FROM_DEPTH)


def seen_by_depth(scene: Scene, calibration: StreamCalibration = CALIBRATION) -> np.ndarray:
    depth_m = scene.depth_m(calibration.depth, calibration.color_from_depth)
    return np.rint(depth_m * 1000).astype(np.uint16)


def gaps(seen: np.ndarray) -> float:
    """Part of the unseen pixels that have seen ones on all four sides."""
    sides = [np.maximum.accumulate(seen, axis=axis) for axis in (0, 1)]
    sides += [np.flip(np.maximum.accumulate(np.flip(seen, axis), axis), axis) for axis in (0, 1)]
    return float((np.logical_and.reduce(sides) & ~seen).mean())


def test_a_wall_and_a_ball_have_the_depth_they_have() -> None:
    scene = Scene()
    registered = Registration(CALIBRATION).register(seen_by_depth(scene)).astype(float)
    true_mm = scene.depth_m(COLOR) * 1000
    edge = np.hypot(*np.gradient(true_mm)) > 15
    seen = (registered > 0) & ~edge
    error_mm = (registered - true_mm)[seen]
    assert abs(np.median(error_mm)) < 0.5
    assert np.percentile(np.abs(error_mm), 99) < 3.0


def test_a_surface_has_no_gaps() -> None:
    registered = Registration(CALIBRATION).register(seen_by_depth(Scene(ball_radius_m=1e-6)))
    assert gaps(registered > 0) < 2e-4


def test_a_full_size_colour_image_has_no_gaps_either() -> None:
    calibration = StreamCalibration(FEMTO_BOLT_COLOR, FEMTO_BOLT_DEPTH, COLOR_FROM_DEPTH)
    native = np.full((576, 640), 800, dtype=np.uint16)
    registered = Registration(calibration).register(native)
    assert (registered > 0).mean() > 0.6
    assert gaps(registered > 0) == 0


def test_the_ball_lies_where_it_lies_to_a_part_of_a_pixel() -> None:
    """Centre and size of the ball's front (both cameras see all of it), against the true ones."""
    scene = Scene(wall_normal=(0, 0, -1), ball_center_m=(0.05, 0.03, 0.6))
    registered = Registration(CALIBRATION).register(seen_by_depth(scene))
    true_m = scene.depth_m(COLOR)
    front, true_front = (registered > 0) & (registered < 540), true_m < 0.54
    centers = [np.array(np.nonzero(each)).mean(axis=1) for each in (front, true_front)]
    assert np.abs(centers[0] - centers[1]).max() < 0.3
    assert front.sum() == pytest.approx(true_front.sum(), rel=0.03)


def test_the_nearer_surface_wins() -> None:
    """Two depth pixels on one colour pixel: the eye sees the near one."""
    pose = pose_from(np.eye(3), np.array([-0.2, 0.0, 0.0]))
    registration = Registration(StreamCalibration(COLOR, DEPTH, pose))
    depth_mm = np.full((288, 320), 2000, dtype=np.uint16)
    depth_mm[:, :200] = 500
    registered = registration.register(depth_mm)
    hidden_edge = registered[180, : int(COLOR.cx_px)]
    assert set(np.unique(hidden_edge)) <= {0, 500, 2000}
    assert (registered == 500).sum() > 1000
    swapped = registration.register(depth_mm[:, ::-1].copy())
    assert set(np.unique(swapped)) <= {0, 500, 2000}


def test_same_camera_twice_changes_nothing() -> None:
    lens = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    registration = Registration(StreamCalibration(lens, lens, np.eye(4)))
    depth_mm = np.random.default_rng(0).integers(300, 4000, (48, 64)).astype(np.uint16)
    depth_mm[5, 5] = 0
    np.testing.assert_array_equal(registration.register(depth_mm), depth_mm)


def test_nothing_seen_is_nothing_registered() -> None:
    registered = Registration(CALIBRATION).register(np.zeros((288, 320), dtype=np.uint16))
    assert not registered.any()


def test_another_size_is_refused() -> None:
    with pytest.raises(ObservationError, match=r"\(10, 10\), calibrated is \(288, 320\)"):
        Registration(CALIBRATION).register(np.zeros((10, 10), dtype=np.uint16))


def test_a_calibration_that_looks_away_is_refused() -> None:
    away = pose_from(np.diag([-1.0, 1.0, -1.0]), np.zeros(3))
    with pytest.raises(CameraError, match="no depth pixel into the colour image"):
        Registration(StreamCalibration(COLOR, DEPTH, away))


@given(st.floats(-0.7, 0.7), st.floats(-0.6, 0.6))
def test_distortion_is_undone(x: float, y: float) -> None:
    for lens in (FEMTO_BOLT_COLOR, FEMTO_BOLT_DEPTH):
        ray_x, ray_y = np.array([x], dtype=np.float64), np.array([y], dtype=np.float64)
        there = distort(ray_x, ray_y, lens.distortion)
        back = undistort(*there, lens.distortion)
        np.testing.assert_allclose([back[0][0], back[1][0]], [x, y], atol=1e-7)


def test_every_pixel_of_the_depth_camera_has_a_ray() -> None:
    assert np.isfinite(pixel_rays(FEMTO_BOLT_DEPTH)).all()


def sdk_or_skip() -> Any:
    try:
        return importlib.import_module("pyorbbecsdk")
    except ImportError as error:
        pytest.skip(f"the Orbbec SDK does not load here: {error}")


def sdk_lens(sdk: Any, lens: Intrinsics) -> tuple[Any, Any]:
    k = sdk.OBCameraIntrinsic()
    k.fx, k.fy, k.cx, k.cy = lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px
    k.width, k.height = lens.width_px, lens.height_px
    d = sdk.OBCameraDistortion()
    d.model = sdk.OBCameraDistortionModel.BROWN_CONRADY
    names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    for name, value in zip(names, lens.distortion, strict=False):
        setattr(d, name, value)
    return k, d


def test_the_sdk_projects_to_the_same_pixels() -> None:
    """Orbbec's own 3-D to pixel, point by point, against one registered pixel at a time."""
    sdk = sdk_or_skip()
    plain = Intrinsics(320, 288, 252.6, 252.6, 169.1, 162.5)
    registration = Registration(StreamCalibration(COLOR, plain, COLOR_FROM_DEPTH))
    extrinsic = sdk.OBExtrinsic()
    extrinsic.rot = COLOR_FROM_DEPTH[:3, :3].astype(np.float32)
    extrinsic.transform = (COLOR_FROM_DEPTH[:3, 3] * 1000).astype(np.float32)
    lens, distortion = sdk_lens(sdk, COLOR)
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, column, z_mm = rng.integers(90, 200), rng.integers(60, 260), rng.integers(500, 3000)
        depth_mm = np.zeros((288, 320), dtype=np.uint16)
        depth_mm[row, column] = z_mm
        point = sdk.OBPoint3f()
        point.x = float((column - plain.cx_px) * z_mm / plain.fx_px)
        point.y = float((row - plain.cy_px) * z_mm / plain.fy_px)
        point.z = float(z_mm)
        theirs = sdk.transformation3dto2d(point, lens, distortion, extrinsic)
        rows, columns = np.nonzero(registration.register(depth_mm))
        assert rows.size
        # Ours is the rectangle of pixels around the projection.
        assert abs(columns.mean() - theirs.x) <= 0.51
        assert abs(rows.mean() - theirs.y) <= 0.51


def test_opencv_distorts_alike() -> None:
    cv2 = pytest.importorskip("cv2")
    rays = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 2))
    for lens in (FEMTO_BOLT_COLOR, FEMTO_BOLT_DEPTH):
        points = np.column_stack([rays, np.ones(200)])
        theirs, _ = cv2.projectPoints(
            points, np.zeros(3), np.zeros(3), np.eye(3), np.array(lens.distortion)
        )
        ours = np.column_stack(distort(rays[:, 0], rays[:, 1], lens.distortion))
        np.testing.assert_allclose(ours, theirs.reshape(-1, 2), atol=1e-9)


def test_against_the_simulators_renderer() -> None:
    """Two views of the MuJoCo cell: one's depth registered to the other, against its own depth."""
    from mvista_bringup.paths import config_file
    from mvista_core.arm import load_arm
    from mvista_core.rig import load_rig
    from mvista_sim.cell import SimCell

    rig = load_rig(config_file("rigs", "sim_cell.yaml"))
    cell = SimCell(load_arm(config_file("arms", "piper.yaml")), rig)
    try:
        frames = [cell.latest(name) for name in rig.names[:2]]
    finally:
        cell.close()
    assert frames[0] is not None and frames[1] is not None
    one, other = rig.camera(rig.names[0]), rig.camera(rig.names[1])
    other_from_one = invert(other.base_from_camera) @ one.base_from_camera
    registration = Registration(StreamCalibration(other.intrinsics, one.intrinsics, other_from_one))
    native = np.rint(frames[0].depth_m * 1000).astype(np.uint16)
    registered = registration.register(native).astype(float)
    true_mm = frames[1].depth_m * 1000.0
    flat = np.hypot(*np.gradient(true_mm)) < 12
    seen = (registered > 0) & (true_mm > 0) & flat
    error_mm = (registered - true_mm)[seen]
    assert seen.mean() > 0.3
    assert abs(np.median(error_mm)) < 2.0
    assert (np.abs(error_mm) < 10).mean() > 0.9
