"""A vantage keeps a camera's azimuth and nothing else of it."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.camera_range import SIM_CELL, TRAINED, direction
from mvista_core.errors import ConfigError
from mvista_core.geometry import exp_so3, is_pose, look_at, pose_from
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraCalibration, Intrinsics
from mvista_core.vantage import Vantage

VANTAGE = Vantage()
WINDOW = ModelWindow(128, 80, 2)
CENTRE = np.array(TRAINED.centre_m)


def camera_at(azimuth_deg: float, pitch_deg: float, distance_m: float) -> np.ndarray:
    return look_at(CENTRE + distance_m * direction(azimuth_deg, pitch_deg), CENTRE)


@pytest.mark.parametrize("azimuth_deg", [-170.0, -60.0, 0.0, 74.0, 106.0, 179.0])
def test_it_stands_at_the_cameras_azimuth_level_and_aimed(azimuth_deg: float) -> None:
    found = VANTAGE.pose(camera_at(azimuth_deg, 30.0, 1.05), TRAINED)
    assert is_pose(found)
    at = TRAINED.place(found)
    assert at.azimuth_deg == pytest.approx(azimuth_deg)
    assert (at.pitch_deg, at.distance_m) == pytest.approx((VANTAGE.pitch_deg, VANTAGE.distance_m))
    assert at.roll_deg == pytest.approx(0.0, abs=1e-6) and at.aim_m == pytest.approx(0.0, abs=1e-9)


def test_nothing_else_of_the_camera_is_left() -> None:
    near, far = camera_at(20.0, 64.0, 0.56), camera_at(20.0, 26.0, 1.4)
    turned = far @ pose_from(exp_so3(np.array([0.0, 0.05, 0.3])), np.zeros(3))
    for pose in (far, turned):
        np.testing.assert_allclose(
            VANTAGE.pose(near, TRAINED), VANTAGE.pose(pose, TRAINED), atol=1e-12
        )


def test_its_own_vantage_is_itself() -> None:
    once = VANTAGE.pose(camera_at(-33.0, 30.0, 0.9), TRAINED)
    np.testing.assert_allclose(VANTAGE.pose(once, TRAINED), once, atol=1e-12)


@pytest.mark.parametrize(("azimuth_deg", "bound_deg"), [(76.0, 75.0), (89.0, 75.0), (91.0, 105.0)])
def test_an_azimuth_held_out_goes_to_the_nearest_trained_one(
    azimuth_deg: float, bound_deg: float
) -> None:
    pose = camera_at(azimuth_deg, 40.0, 0.7)
    assert TRAINED.why_held_out(pose)
    found = VANTAGE.pose(pose, TRAINED)
    assert TRAINED.place(found).azimuth_deg == pytest.approx(bound_deg)
    # Fixed cameras hold no azimuth out.
    kept = VANTAGE.pose(pose, SIM_CELL)
    assert TRAINED.place(kept).azimuth_deg == pytest.approx(azimuth_deg)


def test_the_window_takes_its_image_whole_at_its_focal_length() -> None:
    raw = Intrinsics(320, 180, 187.0, 187.0, 160.0, 90.0)
    found = VANTAGE.of(CameraCalibration("left", camera_at(0.0, 50.0, 0.8), raw), TRAINED, WINDOW)
    assert found.name == "left_vantage"
    assert WINDOW.origin(found.intrinsics) == (0, 0)
    lens = WINDOW.intrinsics(found.intrinsics)
    assert lens.fx_px == lens.fy_px == pytest.approx(VANTAGE.focal_px)
    assert (lens.cx_px, lens.cy_px) == pytest.approx((63.5, 39.5))
    assert not TRAINED.why_outside(found.base_from_camera, lens)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pitch_deg": 0.0},
        {"pitch_deg": 90.0},
        {"pitch_deg": float("nan")},
        {"distance_m": 0.0},
        {"focal_px": -1.0},
    ],
)
def test_what_cannot_be_looked_from_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="within 0 and 90 deg"):
        Vantage(**wrong)
