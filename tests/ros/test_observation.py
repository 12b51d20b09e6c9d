"""Observations are of now: newer than asked for, never of the future, or an error says why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, Image

from mvista_core.errors import CameraSilentError, ObservationError, StaleFeedbackError
from mvista_core.geometry import look_at
from mvista_core.records import (
    CameraCalibration,
    Intrinsics,
    JointState,
    Observation,
    RigCalibration,
)
from mvista_core.timing import ManualClock, seconds_to_ns
from mvista_ros import convert
from mvista_ros.observation import SILENCE_S, ObservationBuffer, ObservationLimits

pytestmark = pytest.mark.ros

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
START_NS = 1_700_000_000 * 10**9
PERIOD_NS = 50 * MS


class HostClock(ManualClock):
    """Wall and steady time apart; `each_period` is called as it passes, as topics deliver."""

    def __init__(self) -> None:
        super().__init__(10**12)
        self.ahead_ns = START_NS - 10**12
        self.each_period: Callable[[], None] = lambda: None

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return super().now_ns()

    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self.ahead_ns += seconds_to_ns(seconds)

    def sleep_until(self, monotonic_ns: int) -> None:
        while (next_ns := (self.monotonic_ns() // PERIOD_NS + 1) * PERIOD_NS) <= monotonic_ns:
            super().sleep_until(next_ns)
            self.each_period()
        super().sleep_until(monotonic_ns)


class Cell:
    """Cameras and an arm that deliver every 50 ms, each of which can be wrong in some way."""

    def __init__(self, *cameras: str, **limits: float) -> None:
        self.clock = HostClock()
        self.clock.each_period = self.deliver
        self.cameras = cameras or RIG.names
        self.buffer = ObservationBuffer(
            RIG,
            self.clock,
            "piper/joint_states",
            self.cameras,
            ObservationLimits(**limits),
        )
        self.silent: set[str] = set()
        self.off_ns: dict[str, int] = {}
        self.lens = INTRINSICS
        self.refused = 0

    def deliver(self) -> None:
        """One period: frames captured 30 ms ago, joints measured now."""
        for camera in self.cameras:
            self._frame(camera)
        if "joints" not in self.silent:
            stamp_ns = self.clock.now_ns() + self.off_ns.get("joints", 0)
            self._hear(self.buffer.add_joints, joints_at(stamp_ns))

    def run(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.monotonic_ns() + seconds_to_ns(seconds))

    def wait(self) -> Observation:
        self.clock.advance(0.001)
        return self.buffer.wait(self.clock.now_ns(), "open the drawer")

    def _frame(self, camera: str) -> None:
        stamp_ns = self.clock.now_ns() - 30 * MS + self.off_ns.get(camera, 0)
        _, color, depth = frame_messages(stamp_ns, stamp_ns + self.off_ns.get("depth", 0))
        info = convert.camera_info_to_msg(self.lens, stamp_ns, "f")
        if f"{camera}/info" not in self.silent and camera not in self.silent:
            self.buffer.add_info(camera, info)
        if camera not in self.silent:
            self._hear(self.buffer.add_color, camera, color)
            self._hear(self.buffer.add_depth, camera, depth)

    def _hear(self, add: Callable[..., None], *message: object) -> None:
        """As the listening helper does: what is refused is dropped."""
        try:
            add(*message)
        except ObservationError:
            self.refused += 1


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


def assert_of_now(cell: Cell, seen: Observation, asked_wall_ns: int) -> None:
    """Everything seen was captured after it was asked for, and not in the future."""
    for stamp_ns in (*(frame.stamp_ns for frame in seen.frames), seen.joints.stamp_ns):
        assert asked_wall_ns < stamp_ns <= cell.clock.now_ns() + 100 * MS


def test_an_observation_has_every_camera_and_the_joints_nearest_in_time() -> None:
    cell = Cell()
    cell.run(1.0)
    asked_ns = cell.clock.now_ns()
    seen = cell.wait()
    assert [frame.camera for frame in seen.frames] == ["cam0", "cam1"]
    assert (seen.rig_hash, seen.instruction) == ("hash", "open the drawer")
    assert_of_now(cell, seen, asked_ns)
    frame_ns = seen.frames[0].stamp_ns
    assert abs(seen.joints.stamp_ns - frame_ns) <= 30 * MS
    np.testing.assert_allclose(seen.frame("cam1").depth_m, 0.5)


def test_old_frames_do_not_count() -> None:
    cell = Cell()
    cell.run(1.0)
    cell.silent = {"cam0", "cam1"}
    with pytest.raises(CameraSilentError, match=r"cam0/color/image_raw, cam0/depth/image_raw"):
        cell.wait()


def test_a_silent_camera_is_named_within_two_seconds() -> None:
    cell = Cell()
    cell.silent = {"cam1"}
    began_ns = cell.clock.monotonic_ns()
    with pytest.raises(CameraSilentError) as caught:
        cell.wait()
    assert "cam1/color/image_raw" in str(caught.value)
    assert "cam0" not in str(caught.value)
    assert cell.clock.monotonic_ns() - began_ns <= 2000 * MS


def test_only_the_asked_cameras_are_waited_for() -> None:
    assert [frame.camera for frame in Cell("cam0").wait().frames] == ["cam0"]


def test_silent_joints_are_named() -> None:
    cell = Cell("cam0")
    cell.silent = {"joints"}
    with pytest.raises(StaleFeedbackError, match="nothing on piper/joint_states"):
        cell.wait()


def test_stamps_that_never_meet_are_told_apart_from_silence() -> None:
    cell = Cell("cam0")
    cell.off_ns["depth"] = 12 * MS
    with pytest.raises(ObservationError, match=r"never within 5 ms.*12\.0 ms at best") as caught:
        cell.wait()
    assert not isinstance(caught.value, CameraSilentError)
    wider = Cell("cam0", pairing_tolerance_s=0.015)
    wider.off_ns["depth"] = 12 * MS
    assert wider.wait().frames


def test_another_resolution_than_the_rigs_is_refused() -> None:
    cell = Cell("cam0")
    cell.lens = Intrinsics(4, 3, 2, 2, 1, 1)
    with pytest.raises(ObservationError, match="4x3, rig 'test' was calibrated at 8x6"):
        cell.wait()


@pytest.mark.parametrize("change", [{"fx_px": 5.5}, {"cy_px": 1.5}, {"fy_px": 0.5}])
def test_another_lens_than_the_rigs_is_refused_with_both(change: dict[str, Any]) -> None:
    cell = Cell("cam0")
    cell.lens = dataclasses.replace(INTRINSICS, **change)
    with pytest.raises(ObservationError, match=r"is not the rig's.*lens_shift_limit"):
        cell.wait()


def test_a_lens_a_little_off_the_rigs_will_do() -> None:
    cell = Cell("cam0")
    cell.lens = dataclasses.replace(INTRINSICS, fx_px=INTRINSICS.fx_px * 1.01)
    assert cell.wait().frames


def test_a_camera_info_from_before_the_question_does_not_count() -> None:
    """The camera may have been changed since: its images alone do not say."""
    cell = Cell("cam0")
    cell.run(0.5)
    cell.silent = {"cam0/info"}
    with pytest.raises(CameraSilentError, match=r"nothing on cam0/color/camera_info for"):
        cell.wait()


@pytest.mark.parametrize("step_s", [-17.0, -0.3, 17.0, 3600.0])
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_wall_clock_that_steps_costs_no_observation(step_s: float, meanwhile: bool) -> None:
    """Old images do not pass as newer than now, new ones are not thrown away."""
    cell = Cell()
    cell.run(2.0)
    if meanwhile:
        cell.clock.each_period = partial(_step_and_go_on, cell, step_s)
        seen = cell.wait()
        asked_ns = cell.clock.now_ns() - seconds_to_ns(SILENCE_S)
    else:
        cell.clock.step(step_s)
        asked_ns = cell.clock.now_ns()
        seen = cell.wait()
    assert_of_now(cell, seen, asked_ns)


def _step_and_go_on(cell: Cell, step_s: float) -> None:
    cell.clock.step(step_s)
    cell.clock.each_period = cell.deliver
    cell.deliver()


@pytest.mark.parametrize("who", ["cam0", "joints"])
@pytest.mark.parametrize("ahead_s", [0.5, 3600.0, -3.0])
def test_stamps_of_another_clock_are_named_and_not_called_silence(who: str, ahead_s: float) -> None:
    cell = Cell("cam0")
    cell.off_ns[who] = seconds_to_ns(ahead_s)
    with pytest.raises((ObservationError, StaleFeedbackError), match="share a clock") as caught:
        cell.wait()
    assert not isinstance(caught.value, CameraSilentError)
    topic = "cam0/color/image_raw" if who == "cam0" else "piper/joint_states"
    assert topic in str(caught.value)


def test_what_came_before_the_question_is_not_its_answer() -> None:
    """Stamped ahead of now, it would be newer than the question; it arrived before it."""
    cell = Cell("cam0")
    cell.off_ns["cam0"] = 80 * MS
    cell.deliver()
    cell.silent = {"cam0"}
    with pytest.raises(CameraSilentError):
        cell.wait()


def test_joints_far_from_the_frames_are_not_theirs() -> None:
    cell = Cell("cam0", joints_within_s=0.015)
    with pytest.raises(StaleFeedbackError, match=r"no joints within 0\.015 s of the frames"):
        cell.wait()


@pytest.mark.parametrize("part", ["color", "depth"])
def test_half_an_image_is_refused_when_it_comes(part: str) -> None:
    buffer = Cell("cam0").buffer
    _, color, depth = frame_messages(START_NS)
    color.data, depth.data = color.data[:50], depth.data[:50]
    add = buffer.add_color if part == "color" else buffer.add_depth
    with pytest.raises(ObservationError, match="50 bytes"):
        add("cam0", color if part == "color" else depth)


@given(st.lists(st.tuples(st.sampled_from([-20.0, -0.2, 0.0, 5.0, 900.0]), st.floats(0.05, 1.0))))
def test_whatever_the_clock_does_an_observation_is_of_now(steps: list[tuple[float, float]]) -> None:
    cell = Cell("cam0")
    for step_s, run_s in steps:
        cell.clock.step(step_s)
        cell.run(run_s)
        asked_ns = cell.clock.now_ns()
        assert_of_now(cell, cell.wait(), asked_ns)
