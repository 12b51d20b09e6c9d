"""The drift watch on small ray-cast scenes: what moved is told, what did not is not accused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_calibration.drift.arm import ArmPoints, LinkShapes, joint_zeros
from mvista_calibration.drift.background import align, learn_background, reduce_frame
from mvista_calibration.drift.between import between_cameras
from mvista_calibration.drift.files import load_backgrounds, save_backgrounds
from mvista_calibration.drift.records import BLIND, LEARNING, OK, WARNING
from mvista_calibration.drift.watch import DriftSettings, DriftWatch
from mvista_calibration.twists import moved
from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import CalibrationError, RigError
from mvista_core.geometry import look_at
from mvista_core.records import (
    CameraCalibration,
    CameraFrame,
    Float64,
    Intrinsics,
    RigCalibration,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LENS = Intrinsics(160, 90, 93.5, 93.5, 79.0, 46.0)
TARGET = np.array([0.33, 0.0, 0.05])
QUICK = DriftSettings(learn_frames=6, window=4, persistence=2, clear_after=3, between_every=8)


def rig(count: int = 2) -> RigCalibration:
    cameras = []
    for index in range(count):
        eye = TARGET + np.array([0.5, -0.25 + 0.5 * index, 0.53])
        cameras.append(CameraCalibration(f"cam{index}", look_at(eye, TARGET), LENS))
    return RigCalibration("test", "base", tuple(cameras), "2026-01-01", "pass")


def frame(
    camera: str, pose: Float64, seed: int = 0, thing_m: float = 0.0, offset_m: float = 0.0
) -> CameraFrame:
    """A table with an edge over a floor, two boxes that stay, one `thing` that may move."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[0:90, 0:160]
    rays = np.stack(
        [(u - LENS.cx_px) / LENS.fx_px, (v - LENS.cy_px) / LENS.fy_px, np.ones(u.shape)], axis=-1
    )
    directions, eye = rays @ pose[:3, :3].T, pose[:3, 3]
    depth, gray = np.full(u.shape, np.inf), np.zeros(u.shape)
    boxes = [
        ((-3.0, -3.0, -0.8), (3.0, 3.0, -0.7), 100.0),
        ((-0.2, -0.6, -0.04), (0.65, 0.6, 0.0), 170.0),
        ((0.05, -0.3, 0.0), (0.15, -0.15, 0.12), 60.0),
        ((0.40, 0.2, 0.0), (0.48, 0.3, 0.06), 230.0),
        ((0.3 + thing_m, 0.0, 0.0), (0.36 + thing_m, 0.06, 0.05), 20.0),
    ]
    for lower, upper, bright in boxes:
        with np.errstate(divide="ignore"):
            a, b = (np.array(lower) - eye) / directions, (np.array(upper) - eye) / directions
        near, far = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
        hit = (near <= far) & (near > 0) & (near < depth)
        depth, gray = np.where(hit, near, depth), np.where(hit, bright, gray)
    noisy = depth + offset_m + rng.normal(0.0, 0.002, depth.shape)
    color = np.clip(gray * rng.uniform(0.97, 1.03) + rng.normal(0, 2, gray.shape), 0, 255)
    return CameraFrame(
        np.repeat(color[..., None], 3, axis=2).astype(np.uint8),
        noisy.astype(np.float32),
        LENS,
        seed,
        camera,
    )


def background(camera: CameraCalibration, offset_m: float = 0.0):  # type: ignore[no-untyped-def]
    frames = [frame(camera.name, camera.base_from_camera, s, offset_m=offset_m) for s in range(8)]
    return learn_background(camera.name, [reduce_frame(f) for f in frames])


@pytest.mark.parametrize("axis", range(6))
def test_a_moved_camera_is_measured(axis: int) -> None:
    camera = rig().cameras[0]
    twist = np.zeros(6)
    twist[axis] = 0.01 if axis < 3 else np.deg2rad(1.0)
    seen = frame(camera.name, camera.base_from_camera @ moved(np.eye(4), twist), 99, thing_m=0.1)
    found = align(background(camera), reduce_frame(seen))
    assert found is not None
    # The twist carries what was seen then to now: the inverse of the camera's own motion.
    assert np.linalg.norm(found.twist[:3] + twist[:3]) < 0.004
    assert np.linalg.norm(found.twist[3:] + twist[3:]) < np.deg2rad(0.35)


def test_depth_offset_and_objects_are_no_motion() -> None:
    camera = rig().cameras[0]
    learned = background(camera, offset_m=0.01)
    seen = frame(camera.name, camera.base_from_camera, 7, thing_m=0.2, offset_m=0.01)
    found = align(learned, reduce_frame(seen))
    assert found is not None
    assert np.linalg.norm(found.twist[:3]) < 0.002
    assert np.linalg.norm(found.twist[3:]) < np.deg2rad(0.2)


def run(watch: DriftWatch, count: int, start: int, moved_twist: Float64 | None = None) -> None:
    for seed in range(start, start + count):
        frames = []
        for index, camera in enumerate(rig().cameras):
            pose = camera.base_from_camera
            if index == 1 and moved_twist is not None:
                pose = pose @ moved(np.eye(4), moved_twist)
            frames.append(frame(camera.name, pose, 10 * seed + index))
        watch.add(frames)


def test_watch_learns_warns_and_clears() -> None:
    watch = DriftWatch(rig(), settings=QUICK)
    run(watch, 3, 0)
    assert [c.state for c in watch.report().cameras] == [LEARNING, LEARNING]
    run(watch, 12, 3)
    assert [c.state for c in watch.report().cameras] == [OK, OK]
    assert watch.report().warnings == ()
    twist = np.array([0.0, 0.0, 0.01, 0.0, 0.0, 0.0])
    run(watch, 8, 20, twist)
    report = watch.report()
    assert [c.state for c in report.cameras] == [OK, WARNING]
    assert report.warnings[0].startswith("cam1 has moved by ")
    assert report.cameras[1].moved_m == pytest.approx(0.01, abs=0.002)
    run(watch, 10, 40)
    assert watch.report().warnings == ()


def test_a_covered_camera_is_lost_not_moved() -> None:
    watch = DriftWatch(rig(), settings=QUICK)
    run(watch, 10, 0)
    for seed in range(12):
        clear = frame("cam0", rig().cameras[0].base_from_camera, seed)
        watch.add([replace(clear, depth_m=np.full_like(clear.depth_m, 0.2))])
    report = watch.report()
    assert report.cameras[0].state in (WARNING, BLIND)
    assert any("recognised" in text for text in report.warnings)


def test_cameras_disagree_when_the_rig_is_wrong() -> None:
    true = rig()
    learned = [background(camera) for camera in true.cameras]
    poses = {camera.name: camera.base_from_camera for camera in true.cameras}
    good = between_cameras(learned, poses)
    lifted = {**poses, "cam1": moved(poses["cam1"], np.array([0, 0, 0.03, 0, 0, 0]))}
    bad = between_cameras(learned, lifted)
    assert good.disagreement_m < 0.004 < 0.01 < bad.disagreement_m


def test_common_motion_of_all_cameras_is_not_seen() -> None:
    true = rig()
    learned = [background(camera) for camera in true.cameras]
    step = np.array([0.02, -0.01, 0.03, 0.0, 0.0, 0.0])
    poses = {camera.name: camera.base_from_camera for camera in true.cameras}
    shifted = {name: moved(pose, step) for name, pose in poses.items()}
    apart = between_cameras(learned, poses).twists - between_cameras(learned, shifted).twists
    assert np.abs(apart).max() < 1e-3


def arm_surface(arm: ArmModel, positions: Float64, seed: int) -> Float64:
    """Points on the upper arm and forearm as they are at `positions`."""
    rng = np.random.default_rng(seed)
    points = []
    for joint in (1, 2):
        pose, after = (
            replace(arm, dh=arm.dh[: k + 1]).base_from_flange(positions) for k in (joint, joint + 1)
        )
        along = after[:3, 3] - pose[:3, 3]
        length = np.linalg.norm(along)
        away = np.cross(along, rng.normal(size=(60, 3)))
        away /= np.linalg.norm(away, axis=1)[:, None]
        share = rng.uniform(0.25, 0.7, 60)[:, None]
        points.append(pose[:3, 3] + share * along + away * 0.032 * (length > 0))
    return np.concatenate(points)


@pytest.mark.parametrize("joint", [0, 1, 2])
def test_joint_zero_is_found(joint: int) -> None:
    arm = load_arm(ROOT / "config/arms/piper.yaml")
    wrong = np.zeros(6)
    wrong[joint] = np.deg2rad(2.0)
    seen = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        true = arm.home[:6] + rng.uniform(-0.4, 0.4, 6)
        points = arm_surface(arm, true, seed) + rng.normal(0, 0.002, (120, 3))
        rays = points - [0.9, 0.3, 0.6]
        rays /= np.linalg.norm(rays, axis=1)[:, None]
        seen.append(ArmPoints(0, points, rays, true - wrong))
    found = joint_zeros(arm, LinkShapes(), seen, 1)
    assert found.offsets_rad[joint] == pytest.approx(np.deg2rad(2.0), abs=np.deg2rad(0.5))
    others = np.delete(found.offsets_rad[:3], joint)
    assert np.abs(others).max() < np.deg2rad(0.5)


def test_backgrounds_come_back_from_disk(tmp_path: Path) -> None:
    learned = background(rig().cameras[0])
    save_backgrounds([learned], "abc", tmp_path / "baseline.npz")
    (again,) = load_backgrounds(tmp_path / "baseline.npz", "abc")
    np.testing.assert_array_equal(again.depth_points, learned.depth_points)
    assert again.intrinsics == learned.intrinsics
    with pytest.raises(CalibrationError, match="another rig"):
        load_backgrounds(tmp_path / "baseline.npz", "other")
    whole = (tmp_path / "baseline.npz").read_bytes()
    rng = np.random.default_rng(3)
    damaged = [b"no", b"", whole[:-30], whole[: len(whole) // 2]]
    for _ in range(30):
        spoiled = bytearray(whole)
        for place in rng.integers(len(spoiled), size=4):
            spoiled[place] = rng.integers(256)
        damaged.append(bytes(spoiled))
    refused = 0
    for data in damaged:
        (tmp_path / "junk.npz").write_bytes(data)
        try:
            load_backgrounds(tmp_path / "junk.npz", "abc")
        except CalibrationError as error:
            refused += 1
            assert "no drift baseline" in str(error) or "another rig" in str(error)
    assert refused > 20


def test_bad_input() -> None:
    with pytest.raises(CalibrationError, match="at least 5"):
        DriftSettings(learn_frames=2)
    with pytest.raises(CalibrationError, match="needs at least 5"):
        learn_background("cam0", [])
    stranger = frame("cam9", rig().cameras[0].base_from_camera)
    with pytest.raises(RigError, match="cam9"):
        DriftWatch(rig()).add([stranger])
    empty = frame("cam0", rig().cameras[0].base_from_camera)
    blank = [reduce_frame(replace(empty, depth_m=np.zeros_like(empty.depth_m)))] * 6
    with pytest.raises(CalibrationError, match="static"):
        learn_background("cam0", blank)
