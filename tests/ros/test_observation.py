"""Observations are newer than asked for, or an error names what is silent within 2 s."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from mvista_core.errors import CameraSilentError, ObservationError, StaleFeedbackError
from mvista_core.geometry import look_at
from mvista_core.records import CameraCalibration, Intrinsics, JointState, RigCalibration
from mvista_core.timing import ManualClock
from mvista_ros import convert
from mvista_ros.observation import ObservationBuffer

INTRINSICS = Intrinsics(8, 6, 5.0, 5.0, 3.5, 2.5)
POSE = look_at(np.array([1.0, 0.0, 1.0]), np.zeros(3))
RIG = RigCalibration(
    "test",
    "piper_base",
    tuple(CameraCalibration(name, POSE, INTRINSICS) for name in ("cam0", "cam1")),
    "2026-01-01",
    "pass",
    "hash",
)
MS = 1_000_000


def _buffer(**arguments: object) -> ObservationBuffer:
    return ObservationBuffer(RIG, ManualClock(), "piper/joint_states", **arguments)  # type: ignore[arg-type]


def frame_messages(
    stamp_ns: int, depth_stamp_ns: int | None = None
) -> tuple[CameraInfo, Image, Image]:
    """Camera info, colour and depth of one small frame."""
    depth_ns = stamp_ns if depth_stamp_ns is None else depth_stamp_ns
    return (
        convert.camera_info_to_msg(INTRINSICS, stamp_ns, "f"),
        convert.color_to_msg(np.full((6, 8, 3), 7, np.uint8), stamp_ns, "f"),
        convert.depth_to_msg(np.full((6, 8), 0.5, np.float32), depth_ns, "f"),
    )


def joints_at(stamp_ns: int) -> JointState:
    """One joint, measured at `stamp_ns`."""
    return JointState(("joint1",), np.zeros(1), np.zeros(1), stamp_ns)


def _feed(
    buffer: ObservationBuffer, camera: str, stamp_ns: int, depth_stamp_ns: int | None = None
) -> None:
    info, color, depth = frame_messages(stamp_ns, depth_stamp_ns)
    buffer.add_info(camera, info)
    buffer.add_color(camera, color)
    buffer.add_depth(camera, depth)


def _joints(buffer: ObservationBuffer, stamp_ns: int) -> None:
    buffer.add_joints(joints_at(stamp_ns))


def test_an_observation_has_every_camera_and_the_joints_nearest_in_time() -> None:
    buffer = _buffer()
    for camera in RIG.names:
        _feed(buffer, camera, 100 * MS)
    for stamp_ns in (50 * MS, 98 * MS, 150 * MS):
        _joints(buffer, stamp_ns)
    seen = buffer.wait(40 * MS, "open the drawer")
    assert [frame.camera for frame in seen.frames] == ["cam0", "cam1"]
    assert (seen.rig_hash, seen.instruction) == ("hash", "open the drawer")
    assert seen.joints.stamp_ns == 98 * MS
    np.testing.assert_allclose(seen.frame("cam1").depth_m, 0.5)


def test_old_frames_do_not_count() -> None:
    buffer = _buffer()
    for camera in RIG.names:
        _feed(buffer, camera, 100 * MS)
    _joints(buffer, 100 * MS)
    with pytest.raises(
        CameraSilentError, match=r"cam0/color/image_raw, cam0/depth/image_raw, cam1"
    ):
        buffer.wait(100 * MS)


def test_a_silent_camera_is_named_within_two_seconds() -> None:
    buffer = _buffer()
    _feed(buffer, "cam0", 100 * MS)
    _joints(buffer, 100 * MS)
    with pytest.raises(CameraSilentError) as caught:
        buffer.wait(0)
    assert "cam1/color/image_raw" in str(caught.value)
    assert "cam0" not in str(caught.value)
    assert buffer.clock.monotonic_ns() <= 2000 * MS


def test_only_the_asked_cameras_are_waited_for() -> None:
    buffer = _buffer(cameras=("cam0",))
    _feed(buffer, "cam0", 100 * MS)
    _joints(buffer, 100 * MS)
    assert [frame.camera for frame in buffer.wait(0).frames] == ["cam0"]


def test_silent_joints_are_named() -> None:
    buffer = _buffer(cameras=("cam0",))
    _feed(buffer, "cam0", 100 * MS)
    with pytest.raises(StaleFeedbackError, match="piper/joint_states"):
        buffer.wait(0)


def test_stamps_that_never_meet_are_told_apart_from_silence() -> None:
    buffer = _buffer(cameras=("cam0",))
    _feed(buffer, "cam0", 100 * MS, depth_stamp_ns=130 * MS)
    _joints(buffer, 100 * MS)
    with pytest.raises(ObservationError, match="never within 5 ms") as caught:
        buffer.wait(0)
    assert not isinstance(caught.value, CameraSilentError)


def test_another_resolution_than_the_rigs_is_refused() -> None:
    buffer = _buffer(cameras=("cam0",))
    _feed(buffer, "cam0", 100 * MS)
    _joints(buffer, 100 * MS)
    buffer.add_info("cam0", convert.camera_info_to_msg(Intrinsics(4, 3, 2, 2, 1, 1), 0, "f"))
    with pytest.raises(ObservationError, match="4x3, rig 'test' was calibrated at 8x6"):
        buffer.wait(0)
