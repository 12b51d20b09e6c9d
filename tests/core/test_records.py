"""Records refuse what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.errors import ObservationError, TrajectoryError
from mvista_core.records import (
    ActionTrajectory,
    CameraFrame,
    Intrinsics,
    JointState,
    Observation,
    Provenance,
)

CAMERA = Intrinsics(4, 2, 10.0, 10.0, 1.5, 0.5)


def make_frame(name: str = "cam0") -> CameraFrame:
    return CameraFrame(np.zeros((2, 4, 3), np.uint8), np.zeros((2, 4), np.float32), CAMERA, 0, name)


@pytest.mark.parametrize(
    ("color", "depth_m", "message"),
    [
        (np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.float32), "cam0: colour"),
        (np.zeros((2, 4, 3), np.float32), np.zeros((2, 4), np.float32), "cam0: colour"),
        (np.zeros((2, 4, 3), np.uint8), np.zeros((4, 2), np.float32), "cam0: depth"),
        (np.zeros((2, 4, 3), np.uint8), np.zeros((2, 4), np.uint16), "cam0: depth"),
    ],
)
def test_a_frame_must_match_its_intrinsics(
    color: np.ndarray, depth_m: np.ndarray, message: str
) -> None:
    with pytest.raises(ObservationError, match=message):
        CameraFrame(color, depth_m, CAMERA, 0, "cam0")


def test_joints_are_ordered_by_name() -> None:
    state = JointState(("b", "a"), np.array([2.0, 1.0]), np.zeros(2), 0)
    np.testing.assert_array_equal(state.ordered(["a", "b"]), [1.0, 2.0])
    with pytest.raises(ObservationError, match=r"no feedback for \['c'\]; measured: \['b', 'a'\]"):
        state.ordered(["a", "c"])


def test_an_observation_names_the_cameras_it_has() -> None:
    joints = JointState((), np.zeros(0), np.zeros(0), 0)
    observation = Observation((make_frame("cam0"), make_frame("cam1")), joints, "", "")
    assert observation.frame("cam1").camera == "cam1"
    with pytest.raises(ObservationError, match=r"'cam7'.*\['cam0', 'cam1'\]"):
        observation.frame("cam7")


def test_a_trajectory_must_have_one_row_per_time_and_one_column_per_joint() -> None:
    with pytest.raises(TrajectoryError) as caught:
        ActionTrajectory(("a", "b"), np.zeros((3, 1)), np.arange(3.0), Provenance("p", "w", 0))
    assert (caught.value.code, caught.value.reason) == (50, TrajectoryError.SHAPE)


def test_cropping_then_scaling_moves_the_principal_point_with_the_pixels() -> None:
    crop = Intrinsics(320, 180, 187.0, 187.0, 158.5, 93.0).cropped(64, 26, 192, 128).scaled(0.5)
    assert (crop.width_px, crop.height_px, crop.fx_px) == (96, 64, 93.5)
    assert crop.cx_px == pytest.approx((158.5 - 64 + 0.5) / 2 - 0.5)
    with pytest.raises(ValueError, match="not whole"):
        crop.scaled(0.4)
