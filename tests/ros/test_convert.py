"""Laws of the conversion: a record that crosses and comes back is the same record."""

from __future__ import annotations

import array
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import KeyValue
from hypothesis import given, settings
from hypothesis import strategies as st
from mvista_interfaces.action import Imagine, RunTask
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image

from mvista_core import errors
from mvista_core.geometry import exp_so3, look_at, pose_from
from mvista_core.records import (
    AS_NEEDED,
    ActionTrajectory,
    CameraCalibration,
    Doubt,
    ImagineOptions,
    Intrinsics,
    JointCommand,
    JointState,
    Provenance,
    Rollout,
)
from mvista_recorder import schemas
from mvista_ros import convert
from mvista_ros.base_node import Health, Level, status_to_msg
from mvista_ros.convert.image_bytes import color_from_bytes, depth_from_bytes
from mvista_ros.convert.rollouts import rollout_from_msg, rollout_to_msg

pytestmark = pytest.mark.ros

HALF_MM_M = 0.5e-3 + 1e-6
ROTATION_TOLERANCE = 1e-9
INTRINSICS = Intrinsics(32, 18, 18.7, 18.7, 15.5, 9.3)


def _across_the_wire(message: Any) -> Any:
    return deserialize_message(serialize_message(message), type(message))


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_keep_every_nanosecond(stamp_ns: int) -> None:
    assert convert.stamp_to_ns(convert.ns_to_stamp(stamp_ns)) == stamp_ns


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_images_survive_the_wire(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    color = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth_m = rng.uniform(0.0, 60.0, (height, width)).astype(np.float32)
    color_back = convert.color_from_msg(_across_the_wire(convert.color_to_msg(color, 1, "f")))
    depth_back = convert.depth_from_msg(_across_the_wire(convert.depth_to_msg(depth_m, 1, "f")))
    np.testing.assert_array_equal(color_back, color)
    np.testing.assert_allclose(depth_back, depth_m, atol=HALF_MM_M)
    assert depth_back.dtype == np.float32


def test_depth_that_16_bits_cannot_hold_is_invalid() -> None:
    depth_m = np.array([[math.nan, math.inf, -1.0, 65.6, 65.535, 0.001]], dtype=np.float32)
    np.testing.assert_array_equal(convert.depth_to_mm(depth_m), [[0, 0, 0, 0, 65535, 1]])


def test_non_contiguous_colour_crosses_unharmed() -> None:
    color = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)[::2, ::-1]
    np.testing.assert_array_equal(
        convert.color_from_msg(convert.color_to_msg(color, 0, "f")), color
    )


def test_row_padding_is_skipped_and_big_endian_read() -> None:
    rows = np.zeros((2, 6), dtype=np.uint8)
    rows[:, :4] = np.array([[1000, 2000], [3000, 4000]], dtype=">u2").view(np.uint8)
    message = Image(height=2, width=2, step=6, encoding="16UC1", is_bigendian=1)
    message.data = array.array("B", rows.tobytes())
    np.testing.assert_allclose(convert.depth_from_msg(message), [[1, 2], [3, 4]])


@pytest.mark.parametrize("bigendian", [0, 1])
@pytest.mark.parametrize("padding", [0, 6])
def test_both_readers_read_the_same_pixels(bigendian: int, padding: int) -> None:
    """Byte order, padded rows and bgr8 alike, from a message and from its bytes."""
    depth_mm = np.arange(1000, 1024, dtype=np.uint16).reshape(4, 6)
    rows = np.zeros((4, 12 + padding), np.uint8)
    rows[:, :12] = depth_mm.astype(">u2" if bigendian else "<u2").view(np.uint8)
    depth = Image(height=4, width=6, step=12 + padding, encoding="16UC1", is_bigendian=bigendian)
    depth.data = array.array("B", rows.tobytes())
    read = depth_from_bytes(serialize_message(depth))
    assert read.pixels.dtype == np.dtype(np.uint16)
    np.testing.assert_array_equal(read.pixels, depth_mm)
    np.testing.assert_allclose(convert.depth_from_msg(depth) * 1000, depth_mm, atol=1e-3)
    color = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    rows = np.zeros((4, 18 + padding), np.uint8)
    rows[:, :18] = color[..., ::-1].reshape(4, 18)
    bgr = Image(height=4, width=6, step=18 + padding, encoding="bgr8", is_bigendian=bigendian)
    bgr.data = array.array("B", rows.tobytes())
    image = color_from_bytes(serialize_message(bgr))
    assert image.encoding == "rgb8"
    np.testing.assert_array_equal(image.pixels, color)
    np.testing.assert_array_equal(convert.color_from_msg(bgr), color)


def test_a_wrong_encoding_or_a_short_image_is_refused() -> None:
    message = convert.color_to_msg(np.zeros((2, 2, 3), np.uint8), 0, "cam0_color_optical_frame")
    with pytest.raises(errors.ObservationError, match=r"cam0.*'rgb8'.*16UC1"):
        convert.depth_from_msg(message)
    message.data = message.data[:-1]
    with pytest.raises(errors.ObservationError, match="11 bytes"):
        convert.color_from_msg(message)


def test_bulk_data_takes_rclpys_fast_path() -> None:
    """rclpy copies an `array.array` in one piece and checks anything else element by element."""
    color = convert.color_to_msg(np.zeros((4, 4, 3), np.uint8), 0, "f")
    cloud = convert.cloud_to_msg(np.zeros((5, 3)), np.zeros((5, 3), np.uint8), 0, "f")
    for data in (color.data, cloud.data):
        assert isinstance(data, array.array) and data.typecode == "B"


@pytest.mark.parametrize(
    "distortion", [(), (0.1, -0.2, 0.0, 0.0, 0.03), tuple(np.arange(1, 9) / 9)]
)
def test_intrinsics_survive(distortion: tuple[float, ...]) -> None:
    intrinsics = Intrinsics(320, 180, 187.0, 186.5, 158.5, 93.0, distortion)
    message = _across_the_wire(convert.camera_info_to_msg(intrinsics, 5, "f"))
    assert convert.intrinsics_from_msg(message) == intrinsics


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 7, 8, 12])
def test_a_camera_info_has_as_many_coefficients_as_its_model(count: int) -> None:
    """REP-104: whoever reads plumb_bob reads five. Live and recorded infos are told alike."""
    bent = (0.1, -0.05, 1e-3, -2e-3, 0.02, 0.3, -0.1, 0.01, *(0.0,) * 4)[:count]
    lens = Intrinsics(320, 180, 187.0, 186.5, 158.5, 93.0, bent)
    live = _across_the_wire(convert.camera_info_to_msg(lens, 5, "f"))
    recorded = deserialize_message(schemas.lens_to_bytes(lens, 5, "f"), CameraInfo)
    takes = {"plumb_bob": 5, "rational_polynomial": 8}
    assert live == recorded
    assert len(live.d) == takes[live.distortion_model]
    assert (tuple(live.d) + (0.0,) * 12)[:12] == (bent + (0.0,) * 12)[:12]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": [0.0] * 9}, "focal lengths are 0 and 0 px"),
        ({"k": [math.nan, 0, 15, 0, 18, 9, 0, 0, 1]}, "focal lengths are nan"),
        ({"k": [math.inf, 0, 15, 0, 18, 9, 0, 0, 1]}, "focal lengths are inf"),
        ({"k": [-18.0, 0, 15, 0, 18, 9, 0, 0, 1]}, "focal lengths are -18"),
        ({"k": [18.0, 0, 32, 0, 18, 9, 0, 0, 1]}, r"principal point \(32, 9\) px lies outside"),
        ({"k": [18.0, 0, 15, 0, 18, math.nan, 0, 0, 1]}, "principal point"),
        ({"width": 0}, "both sides must be above 0"),
        ({"d": [math.nan, 0.0, 0.0, 0.0, 0.0]}, "distortion coefficients"),
        ({"d": [0.1] * 4, "distortion_model": "equidistant"}, "model 'equidistant'"),
        ({"d": [0.1] * 14}, "14 coefficients"),
        ({"binning_x": 2}, "binned or cut out"),
    ],
)
def test_a_camera_info_that_no_lens_has_is_refused(change: dict[str, Any], words: str) -> None:
    message = convert.camera_info_to_msg(INTRINSICS, 5, "cam0_color_optical_frame")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(errors.ObservationError, match=words) as caught:
        convert.intrinsics_from_msg(message)
    assert "cam0" in str(caught.value)


def test_joints_survive_and_ragged_ones_are_refused() -> None:
    names = ("joint1", "gripper")
    state = JointState(names, np.array([0.1, 0.02]), np.array([1.0, 0.0]), 123_456_789_012)
    message = _across_the_wire(convert.joint_state_to_msg(state))
    back = convert.joint_state_from_msg(message)
    assert (back.names, back.stamp_ns) == (names, state.stamp_ns)
    np.testing.assert_array_equal(back.positions, state.positions)
    np.testing.assert_array_equal(back.velocities, state.velocities)
    command = JointCommand(names, state.positions, state.velocities, 7)
    again = convert.joint_command_from_msg(convert.joint_command_to_msg(command))
    np.testing.assert_array_equal(again.positions, command.positions)
    message.position.append(0.0)
    with pytest.raises(errors.ObservationError, match="2 joint names with 3 positions"):
        convert.joint_state_from_msg(message)


def test_trajectories_survive_to_the_nanosecond() -> None:
    rng = np.random.default_rng(0)
    provenance = Provenance("plan", "sha", 3)
    times_s = (np.arange(96) + 1) / 15
    trajectory = ActionTrajectory(("a", "b"), rng.normal(size=(96, 2)), times_s, provenance)
    message = _across_the_wire(convert.trajectory_to_msg(trajectory))
    back = convert.trajectory_from_msg(message, provenance)
    np.testing.assert_array_equal(back.positions, trajectory.positions)
    np.testing.assert_allclose(back.times_s, times_s, atol=1e-9)
    message.points[5].positions = [1.0]
    with pytest.raises(errors.TrajectoryError, match="point 5 has 1 positions for 2") as caught:
        convert.trajectory_from_msg(message, provenance)
    assert caught.value.reason == errors.TrajectoryError.SHAPE
    message.points = []
    with pytest.raises(errors.TrajectoryError) as caught:
        convert.trajectory_from_msg(message, provenance)
    assert caught.value.reason == errors.TrajectoryError.EMPTY


@settings(max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_poses_and_transforms_survive(values: list[float]) -> None:
    pose = pose_from(exp_so3(np.array(values[:3])), np.array(values[3:]))
    back = convert.pose_from_msg(convert.pose_to_msg(pose))
    np.testing.assert_allclose(back, pose, atol=ROTATION_TOLERANCE)
    transform = convert.transform_to_msg(pose, "piper_base", "cam0_color_optical_frame", 9)
    assert (transform.header.frame_id, transform.child_frame_id) == (
        "piper_base",
        "cam0_color_optical_frame",
    )
    np.testing.assert_allclose(convert.transform_from_msg(transform), pose, atol=ROTATION_TOLERANCE)


def test_clouds_survive() -> None:
    rng = np.random.default_rng(0)
    points_m = rng.normal(size=(100, 3)).astype(np.float32)
    color = rng.integers(0, 256, (100, 3), dtype=np.uint8)
    message = _across_the_wire(convert.cloud_to_msg(points_m, color, 1, "piper_base"))
    points_back, color_back = convert.cloud_from_msg(message)
    np.testing.assert_array_equal(points_back, points_m)
    np.testing.assert_array_equal(color_back, color)
    assert (message.width, message.point_step) == (100, 16)
    message.fields.pop()
    with pytest.raises(errors.ObservationError, match="readable are"):
        convert.cloud_from_msg(message)


def test_rollouts_survive_compression_depth_to_the_millimetre() -> None:
    rng = np.random.default_rng(0)
    poses = np.stack([pose_from(exp_so3(rng.normal(size=3)), rng.normal(size=3)) for _ in range(2)])
    slope = np.linspace(0, 255, 32)[:, None]
    rollout = Rollout(
        "id",
        "open the drawer",
        ("cam0", "cam1"),
        (INTRINSICS, INTRINSICS),
        poses,
        np.broadcast_to(slope, (2, 3, 18, 32, 3)).astype(np.uint8),
        rng.uniform(0, 2, (2, 3, 18, 32)).astype(np.float32),
        np.array([0.0, 0.8, 1.6]),
        4,
        10**18,
    )
    message = _across_the_wire(rollout_to_msg(rollout, "piper_base"))
    back = rollout_from_msg(message, seed=4)
    np.testing.assert_allclose(back.color.astype(int), rollout.color, atol=4)
    np.testing.assert_allclose(back.depth_m, rollout.depth_m, atol=HALF_MM_M)
    np.testing.assert_allclose(back.base_from_camera, poses, atol=ROTATION_TOLERANCE)
    np.testing.assert_array_equal(back.times_s, rollout.times_s)
    assert (back.rollout_id, back.instruction, back.cameras, back.intrinsics, back.stamp_ns) == (
        rollout.rollout_id,
        rollout.instruction,
        rollout.cameras,
        rollout.intrinsics,
        rollout.stamp_ns,
    )
    # The image of time 0.8 s carries the stamp it foretells.
    assert convert.stamp_to_ns(message.color[1].header.stamp) == 10**18 + 800_000_000
    whole = message.depth[3].data
    message.depth[3].data = whole[: len(whole) // 2]
    with pytest.raises(errors.ObservationError, match="rollout id: a depth image of"):
        rollout_from_msg(message)
    message.depth[3].data = whole
    message.color.pop()
    with pytest.raises(errors.ObservationError, match="need 6 each"):
        rollout_from_msg(message)


def _all_errors(kind: type[errors.MvistaError]) -> list[type[errors.MvistaError]]:
    return [kind, *(found for sub in kind.__subclasses__() for found in _all_errors(sub))]


@pytest.mark.parametrize("kind", _all_errors(errors.MvistaError))
def test_every_error_survives_with_class_and_message(kind: type[errors.MvistaError]) -> None:
    error = kind(6, "joint2 at 9") if kind is errors.TrajectoryError else kind("what, where")
    back = convert.error_from_outcome(_across_the_wire(convert.outcome_from_error(error)))
    status = status_to_msg("/it", Health(Level.ERROR, "words", error=error))
    told = convert.error_from_outcome(convert.outcome_from_status(_across_the_wire(status)))
    for found in (back, told):
        assert type(found) is kind
        assert str(found) == str(error)
        assert getattr(found, "reason", None) == getattr(error, "reason", None)


def test_a_diagnostic_without_an_error_names_none_and_a_wrong_number_is_refused() -> None:
    status = status_to_msg("/it", Health(values=(("rate (Hz)", "5"),)))
    assert convert.error_from_outcome(convert.outcome_from_status(status)) is None
    for code in ("many", "3.5", "-"):
        status.values = [KeyValue(key="error code", value=code)]
        with pytest.raises(errors.ObservationError, match="whole numbers"):
            convert.outcome_from_status(status)


def test_success_is_no_error_and_surprises_keep_their_name() -> None:
    assert convert.error_from_outcome(convert.outcome_ok()) is None
    assert convert.outcome_from_error(ZeroDivisionError("x")).message == "ZeroDivisionError: x"


def test_what_a_request_brings_survives() -> None:
    camera = CameraCalibration(
        "guest", look_at(np.array([0.9, 0.1, 0.5]), np.array([0.3, 0.0, 0.0])), INTRINSICS
    )
    asked = ImagineOptions((camera,), True, 2, 5)
    goal = _across_the_wire(Imagine.Goal(**convert.options_to_goal(asked)))
    back = convert.options_from_goal(goal)
    (found,) = back.cameras
    np.testing.assert_allclose(found.base_from_camera, camera.base_from_camera, atol=1e-12)
    assert (found.name, found.intrinsics) == (camera.name, camera.intrinsics)
    assert dataclasses.replace(back, cameras=()) == dataclasses.replace(asked, cameras=())
    assert convert.options_from_goal(RunTask.Goal()) == ImagineOptions(best_of=AS_NEEDED)


def test_doubts_and_the_gates_reason_survive() -> None:
    doubts = (Doubt("goal_gap_m", 0.04, 0.03), Doubt("outside_m", 0.0, 0.02))
    assert convert.doubts_from_msg(convert.doubts_to_msg(doubts)) == doubts
    refused = errors.GateError("too far", errors.GateError.GOAL)
    outcome = convert.outcome_from_error(refused)
    again = convert.error_from_outcome(outcome)
    assert isinstance(again, errors.GateError)
    assert (again.reason, str(again)) == (errors.GateError.GOAL, "too far")
