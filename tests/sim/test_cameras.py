"""Cameras: what is rendered lies where the rig file says; the time-of-flight model's laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import RigError
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraFrame, Float64, RigCalibration
from mvista_sim.cameras import TofNoise
from mvista_sim.cell import SimCell
from mvista_sim.episodes import cropped
from mvista_sim.sensors import Sensor
from mvista_sim.tasks import CUBE_HALF_M

WINDOW = ModelWindow(128, 80, 2)
CAMERAS = ("cam0", "cam1", "cam2", "cam3")


def back_projected(frame: CameraFrame, rig: RigCalibration) -> Float64:
    """Every pixel as a point in the base frame, [H, W, 3]."""
    intrinsics = frame.intrinsics
    v, u = np.mgrid[: intrinsics.height_px, : intrinsics.width_px]
    x = (u - intrinsics.cx_px) / intrinsics.fx_px * frame.depth_m
    y = (v - intrinsics.cy_px) / intrinsics.fy_px * frame.depth_m
    points = np.stack([x, y, frame.depth_m], axis=-1)
    pose = rig.camera(frame.camera).base_from_camera
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def projected(point: Float64, camera: str, rig: RigCalibration) -> Float64:
    """A point of the base frame as pixel (u, v)."""
    calibration = rig.camera(camera)
    pose = calibration.base_from_camera
    ray = calibration.intrinsics.matrix @ pose[:3, :3].T @ (point - pose[:3, 3])
    return np.asarray(ray[:2] / ray[2])


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_table_is_back_projected_to_height_zero(
    cell: SimCell, rig: RigCalibration, camera: str
) -> None:
    points = back_projected(cell.latest(camera), rig)
    heights = points[np.abs(points[..., 2]) < 0.01][:, 2]
    assert len(heights) > 5000
    assert abs(np.median(heights)) < 1e-3


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_cube_lies_where_it_is_rendered(
    cell: SimCell, rig: RigCalibration, camera: str
) -> None:
    top, radius_m, seen = 2 * CUBE_HALF_M, 0.8 * CUBE_HALF_M, 0
    eye = rig.camera(camera).base_from_camera[:3, 3]
    for seed in (0, 1, 2):
        cell.reset("touch_cube", seed)
        frame = cell.latest(camera)
        points = back_projected(frame, rig)
        for cube in (item for item in cell.layout.objects if item.kind == "cube"):
            centre = np.array([cube.x_m, cube.y_m, top])
            near = np.linalg.norm(points[..., :2] - centre[:2], axis=-1) < radius_m
            face = points[near & (np.abs(points[..., 2] - top) < 0.01)]
            away = eye - centre
            scale = frame.intrinsics.fx_px / np.linalg.norm(away)
            whole_px = np.pi * (radius_m * scale) ** 2 * away[2] / np.linalg.norm(away)
            if len(face) < 0.8 * whole_px:  # the arm, or the image's edge, hides some of it
                continue
            seen += 1
            assert abs(np.median(face[:, 2]) - top) < 2e-3
            np.testing.assert_allclose(face[:, :2].mean(axis=0), centre[:2], atol=3e-3)
    assert seen >= 6


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_known_point_projects_to_the_pixel_that_shows_it(
    cell: SimCell, rig: RigCalibration, camera: str
) -> None:
    frame = cell.latest(camera)
    points = back_projected(frame, rig)
    reds = frame.color.astype(int)
    red = (reds[..., 0] > 90) & (reds[..., 1] < 60) & (reds[..., 2] < 60)
    face = red & (np.abs(points[..., 2] - 2 * CUBE_HALF_M) < 4e-3)
    cube = cell.layout.named("red_cube")
    centre = np.array([cube.x_m, cube.y_m, 2 * CUBE_HALF_M])
    v, u = np.nonzero(face)
    if len(u) < 60:
        pytest.skip(f"the arm hides the red cube from {camera}")
    # Perspective moves the mean of a 5 cm face by a fraction of a pixel.
    np.testing.assert_allclose((u.mean(), v.mean()), projected(centre, camera, rig), atol=1.0)


def test_an_unknown_camera_is_refused_with_the_names_there_are(cell: SimCell) -> None:
    with pytest.raises(RigError, match="cam0"):
        cell.latest("cam9")


def scene_depth(seed: int) -> np.ndarray:
    """A slope with a box on it and some invalid pixels, float32 [24, 32]."""
    rng = np.random.default_rng(seed)
    depth = np.linspace(0.5, 1.2, 24, dtype=np.float32)[:, None].repeat(32, axis=1)
    depth[6:14, 8:20] -= 0.3
    depth[rng.random(depth.shape) < 0.05] = 0.0
    return depth


@given(seed=st.integers(0, 99), floor=st.floats(0, 0.02), slope=st.floats(0, 0.02))
def test_depth_is_whole_millimetres_never_negative_and_invalid_stays_invalid(
    seed: int, floor: float, slope: float
) -> None:
    depth = scene_depth(seed)
    noisy = TofNoise(floor, slope, 0.05).apply(depth, np.random.default_rng(seed))
    assert noisy.dtype == np.float32
    assert (noisy >= 0).all()
    np.testing.assert_allclose(noisy * 1000, np.round(noisy * 1000), atol=1e-3)
    assert (noisy[depth == 0] == 0).all()


def test_without_noise_only_the_millimetre_is_rounded() -> None:
    depth = scene_depth(0)
    np.testing.assert_allclose(TofNoise().apply(depth, np.random.default_rng(0)), depth, atol=5e-4)


def test_holes_are_beside_depth_steps_and_nowhere_else() -> None:
    depth = np.full((20, 20), 1.0, dtype=np.float32)
    depth[:, 10:] = 0.6
    lost = TofNoise(0.0, 0.0, 0.05).apply(depth, np.random.default_rng(0)) == 0
    assert set(np.nonzero(lost)[1]) == {10}
    assert lost[:, 10].all()


def test_noise_grows_with_the_square_of_the_distance() -> None:
    noise, rng = TofNoise(0.001, 0.004), np.random.default_rng(0)
    for z in (0.5, 1.0, 2.0):
        flat = np.full((200, 200), z, dtype=np.float32)
        spread = (noise.apply(flat, rng) - flat).std()
        assert spread == pytest.approx(0.001 + 0.004 * z * z, rel=0.05)


def test_surfaces_seen_from_the_side_are_lost_and_others_kept() -> None:
    """A plane's depth falls by z / f * tan(angle) from one row to the next."""
    rng, focal = np.random.default_rng(0), 187.0
    for angle_deg, least, most in ((60.0, 0.0, 0.0), (80.0, 0.1, 0.9), (85.5, 0.5, 1.0)):
        depth = np.ones((40, 40), dtype=np.float32)
        for row in range(1, 40):
            depth[row] = depth[row - 1] * (1.0 + np.tan(np.deg2rad(angle_deg)) / focal)
        noise = TofNoise(grazing_deg=70.0, focal_px=focal, flying_m=1.0)
        lost = (noise.apply(depth, rng) == 0)[:-1].mean()
        assert least <= lost <= most


def test_flying_pixels_lie_between_the_surfaces_beside_a_step() -> None:
    depth = np.full((60, 60), 0.6, dtype=np.float32)
    depth[:, 30:] = 1.0
    flying = TofNoise(flying_share=0.5).apply(depth, np.random.default_rng(0))
    between = (flying > 0.601) & (flying < 0.999)
    assert 0.4 < between[:, 29:31].mean() < 0.6
    assert not between[:, :29].any() and not between[:, 31:].any()


def test_two_cameras_show_one_scene_in_other_colours_and_the_same_shapes(cell: SimCell) -> None:
    ideal = cell.latest("cam1")
    units = [Sensor.drawn(np.random.default_rng(seed), 187.0) for seed in (1, 2)]
    seen = [unit.frame(ideal, np.random.default_rng(3)) for unit in units]
    ratio = [frame.color.astype(float).mean(axis=(0, 1)) for frame in (ideal, *seen)]
    for unit, mean in zip(units, ratio[1:], strict=True):
        assert mean / ratio[0] == pytest.approx(unit.gain, rel=0.05)
    assert not np.allclose(units[0].gain, units[1].gain)
    for frame in seen:
        both = (frame.depth_m > 0) & (ideal.depth_m < 1.5)
        assert both.mean() > 0.3
        assert np.median(np.abs(frame.depth_m - ideal.depth_m)[both]) < 0.01
    assert np.array_equal(
        units[0].noiseless().frame(ideal, np.random.default_rng(0)).depth_m, ideal.depth_m
    )


def test_an_emptied_view_has_neither_arm_nor_objects(cell: SimCell) -> None:
    full, empty = cell.latest("cam1"), cell.emptied("cam1")
    nearer = full.depth_m < empty.depth_m - 0.01
    assert 0.02 < nearer.mean() < 0.4
    assert not (full.depth_m > empty.depth_m + 0.01).any()


def test_a_reused_context_draws_what_a_new_one_draws(arm: ArmModel, rig: RigCalibration) -> None:
    reused = SimCell(arm, rig)
    reused.latest("cam0")
    for task, seed in (("open_drawer", 3), ("put_orange", 4), ("touch_cube", 5)):
        reused.reset(task, seed)
        fresh = SimCell(arm, rig)
        fresh.reset(task, seed)
        for camera in ("cam1", "cam3"):
            ours, theirs = reused.latest(camera), fresh.latest(camera)
            np.testing.assert_array_equal(ours.color, theirs.color)
            np.testing.assert_array_equal(ours.depth_m, theirs.depth_m)
        fresh.close()
    reused.close()


def test_a_rig_of_another_image_size_is_drawn_at_that_size(
    arm: ArmModel, rig: RigCalibration
) -> None:
    cell = SimCell(arm, rig)
    whole = cell.latest("cam0")
    cell.reset("touch_cube", 0, rig=cropped(rig, WINDOW))
    part = cell.latest("cam0")
    ours, theirs = WINDOW.frame(part), WINDOW.frame(whole)
    assert part.color.shape == (160, 256, 3) and ours.intrinsics == theirs.intrinsics
    # The same rays through another frustum: a pixel on an edge may fall to the other side.
    assert np.mean(np.abs(ours.depth_m - theirs.depth_m) > 2e-3) < 0.01
    assert np.mean(np.abs(ours.color.astype(int) - theirs.color) > 8) < 0.01
    cell.close()
