"""The range of cameras: a pose and what is said of it agree, and it survives JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.camera_range import TRAINED, CameraRange, FixedCameras, gaps_deg, sees_a_neighbour
from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError
from mvista_core.geometry import exp_so3, look_at, pose_from
from mvista_core.imaging import ModelWindow
from mvista_core.records import Intrinsics
from mvista_core.rig import load_rig

RIG = load_rig(Path(__file__).parents[2] / "config/rigs/sim_cell.yaml")
LENS = TINY.window.intrinsics(RIG.cameras[0].intrinsics)


def camera(
    azimuth_deg: float,
    pitch_deg: float,
    distance_m: float,
    roll_deg: float = 0.0,
    aside_m: float = 0.0,
) -> np.ndarray:
    centre = np.array(TRAINED.centre_m)
    a, p = np.deg2rad([azimuth_deg, pitch_deg])
    toward = np.array([np.cos(p) * np.cos(a), np.cos(p) * np.sin(a), np.sin(p)])
    aside = aside_m * np.array([-np.sin(a), np.cos(a), 0.0])
    pose = look_at(centre + distance_m * toward, centre + aside)
    return pose @ pose_from(exp_so3(np.array([0, 0, np.deg2rad(roll_deg)])), np.zeros(3))


@given(
    azimuth=st.floats(-179.0, 179.0),
    pitch=st.floats(5.0, 80.0),
    distance=st.floats(0.2, 2.0),
    roll=st.floats(-30.0, 30.0),
)
def test_a_place_is_what_the_pose_was_made_of(
    azimuth: float, pitch: float, distance: float, roll: float
) -> None:
    at = TRAINED.place(camera(azimuth, pitch, distance, roll))
    assert at.azimuth_deg == pytest.approx(azimuth, abs=1e-6)
    assert at.pitch_deg == pytest.approx(pitch, abs=1e-6)
    assert at.distance_m == pytest.approx(distance)
    assert at.roll_deg == pytest.approx(roll, abs=1e-6)
    assert at.aim_m == pytest.approx(0.0, abs=1e-6)


def test_the_shipped_rig_is_in_range_at_every_window() -> None:
    for window in (TINY.window, ModelWindow(128, 80, 2)):
        for one in RIG.cameras:
            assert not TRAINED.why_outside(one.base_from_camera, window.intrinsics(one.intrinsics))


@pytest.mark.parametrize(
    ("pose", "said"),
    [
        (camera(0, 20, 0.7), "pitch 20 deg is outside 25 to 65 deg"),
        (camera(0, 46, 0.4), "distance 0.4 m is outside 0.55 to 1.1 m"),
        (camera(0, 46, 1.3), "distance 1.3 m is outside 0.55 to 1.1 m"),
        (camera(0, 46, 0.7, 12), "roll 12 deg is outside -8 to 8 deg"),
        (camera(0, 46, 0.7, 0, 0.2), "optical axis 0.19.* m is outside 0 to 0.05 m"),
    ],
)
def test_what_nobody_measured_is_refused_with_number_and_range(pose: np.ndarray, said: str) -> None:
    for why in (TRAINED.why_beyond(pose, LENS), TRAINED.why_outside(pose, LENS)):
        assert re.search(said, why), why


@pytest.mark.parametrize(
    ("pose", "said"),
    [
        (camera(90, 46, 0.7), "azimuth 90 deg lies within 75 to 105 deg, which was held out"),
        (camera(0, 30, 0.7), "pitch 30 deg lies within 28 to 35 deg, which was held out"),
        (camera(0, 46, 1.05), "distance 1.05 m is outside 0.55 to 1 m.*held out"),
    ],
)
def test_held_out_places_are_measured_but_not_trained(pose: np.ndarray, said: str) -> None:
    assert not TRAINED.why_beyond(pose, LENS)
    assert re.search(said, TRAINED.why_outside(pose, LENS))


def test_a_lens_of_another_kind_is_refused() -> None:
    wide = Intrinsics(96, 64, 60.0, 60.0, 47.5, 31.5)
    assert "focal length 60 px" in TRAINED.why_outside(RIG.cameras[0].base_from_camera, wide)


def test_a_pose_of_nan_is_not_in_range() -> None:
    assert TRAINED.why_outside(np.full((4, 4), np.nan), LENS)


def test_a_range_survives_json_and_refuses_what_is_none() -> None:
    document = json.loads(json.dumps(TRAINED.document()))
    assert CameraRange.parse(document) == TRAINED
    other = replace(TRAINED, far_m=0.9)
    assert CameraRange.parse(other.document()) == other
    for wrong in ({}, {**document, "colour": 1.0}, {**document, "far_m": "far"}):
        with pytest.raises(ConfigError, match="not a range of cameras"):
            CameraRange.parse(wrong)


def test_neighbours_are_within_ninety_degrees_seen_from_above() -> None:
    poses = np.stack([camera(a, p, 0.7) for a, p in ((170, 30), (-170, 60), (60, 46), (-60, 46))])
    gaps = gaps_deg(poses, np.array(TRAINED.centre_m))
    np.testing.assert_allclose(gaps[0], [0, 20, 110, 130], atol=1e-6)
    np.testing.assert_allclose(gaps, gaps.T)
    assert sees_a_neighbour(gaps).tolist() == [True, True, False, False]
    assert sees_a_neighbour(np.zeros((1, 1))).all()


@given(
    pitches=st.lists(st.floats(10.0, 80.0), min_size=2, max_size=4),
    which=st.integers(0, 3),
    azimuth=st.floats(-3.0, 3.0),
)
def test_each_fixed_camera_is_one_of_them_though_another_stands_below_it(
    pitches: list[float], which: int, azimuth: float
) -> None:
    poses = [camera(40.0 + azimuth * i, pitch, 0.8) for i, pitch in enumerate(pitches)]
    fixed = FixedCameras.of(poses, [LENS] * len(poses))
    assert fixed.why_outside(poses[which % len(poses)], LENS) == ""
