"""Drawn rigs: in range, under App. A's rule, a function of the seed, and told nearly right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.camera_range import LARGEST_GAP_DEG, TRAINED, gaps_deg
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, look_at, rotation_angle_rad
from mvista_core.imaging import ModelWindow
from mvista_core.records import RigCalibration
from mvista_sim import rigs
from mvista_sim.rigs import RigDraw, arm_points, as_told

WINDOW = ModelWindow(128, 80, 2)
SEEDS = range(1_000_000, 1_000_200)


@pytest.fixture(scope="module")
def drawn(arm: ArmModel) -> list[RigCalibration]:
    draw = RigDraw(arm, WINDOW)
    return [draw.rig(seed, 1 + seed % 5) for seed in SEEDS]


def places(rig: RigCalibration) -> list[np.ndarray]:
    return [camera.base_from_camera for camera in rig.cameras]


def test_every_camera_is_in_the_trained_range(drawn: list[RigCalibration]) -> None:
    for rig in drawn:
        for camera in rig.cameras:
            lens = WINDOW.intrinsics(camera.intrinsics)
            assert not TRAINED.why_outside(camera.base_from_camera, lens)


def test_held_out_rigs_share_nothing_with_training(
    arm: ArmModel, drawn: list[RigCalibration]
) -> None:
    draw = RigDraw(arm, WINDOW, held_out=True)
    reasons = set()
    for seed in range(40):
        for camera in draw.rig(seed, 3).cameras:
            lens = WINDOW.intrinsics(camera.intrinsics)
            assert not TRAINED.why_beyond(camera.base_from_camera, lens)
            reasons.add(TRAINED.why_held_out(camera.base_from_camera).split()[0])
    assert reasons == {"azimuth", "pitch", "distance"}


@pytest.mark.parametrize("held_out", [False, True])
def test_a_rig_can_have_as_many_cameras_as_a_request(arm: ArmModel, held_out: bool) -> None:
    draw = RigDraw(arm, WINDOW, held_out)
    for seed in range(10_000, 10_020):
        assert len(draw.rig(seed, 5).cameras) == 5


def test_every_view_has_another_within_ninety_degrees(drawn: list[RigCalibration]) -> None:
    for rig in drawn:
        gaps = gaps_deg(np.stack(places(rig)), np.array(TRAINED.centre_m))
        np.fill_diagonal(gaps, 0.0 if len(gaps) == 1 else 360.0)
        assert (gaps.min(axis=1) <= LARGEST_GAP_DEG).all()


def test_no_two_cameras_share_a_station(drawn: list[RigCalibration]) -> None:
    for rig in drawn:
        azimuths = [TRAINED.place(pose).azimuth_deg for pose in places(rig)]
        stations = {round(azimuth / rigs.STATIONS_DEG) % 12 for azimuth in azimuths}
        assert len(stations) == len(rig.cameras)


def test_every_camera_sees_the_workspace_and_stands_clear_of_the_arm(
    arm: ArmModel, drawn: list[RigCalibration]
) -> None:
    draw, links = RigDraw(arm, WINDOW), arm_points(arm, arm.home)
    for rig in drawn:
        for camera in rig.cameras:
            assert draw.seen_share(camera) >= rigs.SMALLEST_VIEW
            away = np.linalg.norm(links - camera.base_from_camera[:3, 3], axis=1)
            assert away.min() >= rigs.CLEARANCE_M


def test_the_draws_fill_the_range(drawn: list[RigCalibration]) -> None:
    at = [TRAINED.place(pose) for rig in drawn for pose in places(rig)]
    for values, (least, most) in (
        ([place.pitch_deg for place in at], TRAINED.pitch_deg),
        ([place.distance_m for place in at], (TRAINED.distance_m[0], TRAINED.far_m)),
        ([place.roll_deg for place in at], TRAINED.roll_deg),
    ):
        span = most - least
        assert min(values) < least + 0.1 * span and max(values) > most - 0.1 * span


def test_a_rig_is_a_function_of_its_seed(arm: ArmModel) -> None:
    first, again, other = (RigDraw(arm, WINDOW).rig(seed, 3) for seed in (7, 7, 8))
    np.testing.assert_array_equal(places(first), places(again))
    assert first.cameras[0].intrinsics == again.cameras[0].intrinsics
    assert not np.allclose(places(first), places(other))


def test_the_arm_hides_what_lies_behind_it(arm: ArmModel, rig: RigCalibration) -> None:
    """The shipped cameras see nearly all; one behind the arm's shoulder does not."""
    draw = RigDraw(arm, WINDOW)
    assert all(draw.seen_share(camera) > 0.85 for camera in rig.cameras)
    behind = look_at(np.array([-0.35, 0.0, 0.45]), np.array(TRAINED.centre_m))
    within = look_at(np.array([0.0, 0.01, 0.35]), np.array(TRAINED.centre_m))
    assert draw.seen_share(replace(rig.cameras[0], base_from_camera=behind)) < rigs.SMALLEST_VIEW
    assert draw.seen_share(replace(rig.cameras[0], base_from_camera=within)) == 0.0


def test_told_poses_are_wrong_by_as_much_as_stated(drawn: list[RigCalibration]) -> None:
    angles, shifts = [], []
    for seed, rig in zip(SEEDS, drawn, strict=True):
        for true, told in zip(places(rig), places(as_told(rig, seed)), strict=True):
            apart = invert(true) @ told
            angles.append(rotation_angle_rad(apart[:3, :3]))
            shifts.append(np.linalg.norm(apart[:3, 3]))
    rms = [float(np.sqrt(np.mean(np.square(values)))) for values in (angles, shifts)]
    assert rms == pytest.approx([rigs.TOLD_ANGLE_RAD, rigs.TOLD_SHIFT_M], rel=0.1)


@pytest.mark.parametrize("count", [0, 6])
def test_a_number_of_cameras_that_no_rig_has_is_refused(arm: ArmModel, count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} cameras to draw; a rig has 1 to 5"):
        RigDraw(arm, WINDOW).rig(0, count)
