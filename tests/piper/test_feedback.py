"""Stamps, not values: what counts as feedback and for how long. Frames are written by hand here."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import can
import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.timing import ManualClock
from mvista_piper.bus_time import Stamp
from mvista_piper.feedback import Feedback
from mvista_piper.identity import Role
from mvista_piper.link import PiperLink, ReceivedFrame
from mvista_piper.protocol import JOINT_FEEDBACK

Join = Callable[[], can.BusABC]
ENABLED = 0x40


class Wire:
    """An arm of our own making on one side, link and feedback on the other."""

    def __init__(self, join: Join, arm: ArmModel) -> None:
        self.clock = ManualClock(50 * 10**9)
        self.link = PiperLink(join, self.clock)
        self.link.open()
        self.feedback = Feedback(arm.joint_names, 0.1, 0.3, 0.05)
        self.arm = join()

    def say(self, can_id: int, data: bytes) -> bool:
        """One frame of the arm; whether it completed a set of joints."""
        data = data.ljust(8, b"\0")
        self.arm.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
        frame = self.link.receive(0.0)
        assert frame is not None and frame.can_id == can_id
        return self.feedback.take(frame)

    def say_pose(self, degrees: list[float], opening_mm: float, times: int = 3) -> list[bool]:
        for _ in range(times - 1):
            self.say_pose(degrees, opening_mm, 1)
        done = [
            self.say(can_id, struct.pack(">ii", *(round(v * 1000) for v in degrees[2 * k :][:2])))
            for k, can_id in enumerate(JOINT_FEEDBACK)
        ]
        return [*done, self.say(0x2A8, struct.pack(">ihB", round(opening_mm * 1000), 0, ENABLED))]

    def say_motors(self, bits: int = ENABLED) -> None:
        for motor in range(6):
            self.say(0x261 + motor, struct.pack(">HhbBH", 240, 31, 33, bits, 0))

    def say_motor_position(self, motor: int, degrees: float) -> None:
        """0x251-0x256, three times: the motor's own position, at rest."""
        for _ in range(3):
            self.say(0x251 + motor, struct.pack(">hhi", 0, 0, round(np.deg2rad(degrees) * 1000)))

    def stamp(self) -> Stamp:
        return Stamp(self.clock.now_ns(), self.clock.monotonic_ns())

    def wait(self, seconds: float) -> None:
        """Time passes; then the bus is listened to, and nothing is on it."""
        self.clock.advance(seconds)
        assert self.link.receive(0.0) is None
        self.feedback.heard(self.clock.monotonic_ns())

    def pose(self) -> np.ndarray | None:
        state = self.feedback.pose(self.clock.monotonic_ns())
        return None if state is None else state.positions

    def stale(self) -> str:
        return self.feedback.stale(self.clock.monotonic_ns())


@pytest.fixture
def wire(virtual_bus: Join, arm: ArmModel) -> Wire:
    return Wire(virtual_bus, arm)


def test_before_the_first_frame_there_is_no_pose(wire: Wire) -> None:
    assert wire.pose() is None
    assert "joints 1-2 (0x2A5) (never)" in wire.stale()


def test_a_pose_needs_every_joint_frame_and_the_gripper_three_times(wire: Wire) -> None:
    for time in range(3):
        for k, can_id in enumerate(JOINT_FEEDBACK):
            done = wire.say(can_id, struct.pack(">ii", 1000, 2000))
            assert done is (k == 2 and time == 2)
            assert wire.pose() is None
        wire.say(0x2A8, struct.pack(">ihB", 35_000, 0, ENABLED))
    positions = wire.pose()
    assert positions is not None
    np.testing.assert_allclose(positions, [*np.deg2rad([1, 2] * 3), 0.035], atol=1e-9)


FLAWS: dict[str, dict[str, Any]] = {
    "4 bytes": {"data": bytes(4)},
    "no bytes": {"data": b""},
    "29-bit id": {"is_extended_id": True},
    "remote": {"is_remote_frame": True},
    "beyond 3,000 degrees": {"data": struct.pack(">ii", 4_000_000, 4_000_000)},
    "out of range": {"data": struct.pack(">ii", 2_000_000, 2_000_000)},
    "a leap": {"data": struct.pack(">ii", 60_000, 60_000)},
}


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("can_id", [*JOINT_FEEDBACK, 0x2A8])
def test_a_frame_that_gives_no_value_does_not_refresh_the_old_one(
    wire: Wire, can_id: int, flaw: str
) -> None:
    pose = [1.0, 2.0, -1.0, 2.0, 1.0, 2.0]
    wire.say_pose(pose, 30.0)
    wire.wait(0.06)
    wire.say_pose(pose, 30.0, times=1)
    age_before_s = wire.feedback.age_s(can_id, wire.clock.monotonic_ns())
    wire.wait(0.005)
    bad: dict[str, Any] = {"data": bytes(8), "is_extended_id": False, **FLAWS[flaw]}
    if can_id == 0x2A8 and "data" in FLAWS[flaw] and len(bad["data"]) == 8:
        bad["data"] = struct.pack(">ihB", 2_000_000, 0, ENABLED)
    if bad.get("is_remote_frame"):
        bad["data"] = b""
    wire.arm.send(can.Message(arbitration_id=can_id, **bad))
    frame = wire.link.receive(0.0)
    assert frame is not None and not wire.feedback.take(frame)
    now_ns = wire.clock.monotonic_ns()
    assert wire.feedback.age_s(can_id, now_ns) == pytest.approx(age_before_s + 0.005, abs=1e-6)
    positions = wire.pose()
    assert positions is not None
    np.testing.assert_allclose(positions, [*np.deg2rad(pose), 0.03], atol=1e-9)
    if flaw not in ("29-bit id", "remote"):  # those are nobody's, and counted by the link
        assert f"1 of 0x{can_id:X}" in wire.feedback.drops


@pytest.mark.parametrize("data", [bytes(4), struct.pack(">ii", 4_000_000, 0)])
def test_frames_that_never_gave_a_value_are_no_pose_and_said(wire: Wire, data: bytes) -> None:
    for _ in range(50):
        for can_id in JOINT_FEEDBACK:
            wire.arm.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
            frame = wire.link.receive(0.0)
            assert frame is not None and not wire.feedback.take(frame)
        wire.say(0x2A8, struct.pack(">ihB", 35_000, 0, ENABLED))
    assert wire.pose() is None
    assert "joints 1-2 (0x2A5) (never; 50 dropped: " in wire.stale()


def test_what_was_on_the_bus_before_it_was_forgotten_does_not_come_back(wire: Wire) -> None:
    """A frame that another thread held while the operator re-armed, or freed a leader."""
    for _ in range(3):
        wire.say(0x2B5, bytes(8))
    held = ReceivedFrame(0x2B5, bytes(8), wire.stamp())
    wire.clock.advance(0.001)
    wire.feedback.forget(wire.clock.monotonic_ns())
    wire.feedback.take(held)
    wire.say(0x2A1, bytes(8))
    assert wire.feedback.role(wire.clock.monotonic_ns()) is Role.FOLLOWER


def test_answers_are_read_while_they_come_and_are_forgotten(wire: Wire) -> None:
    """Three threads, as in the node: one takes, one reads, one forgets."""
    done, failures = threading.Event(), []
    frames = [
        ReceivedFrame(can_id, struct.pack(layout, motor, *rest), wire.stamp())
        for motor in range(1, 7)
        for can_id, layout, rest in (
            (0x473, ">BhhHx", (1000, -500, 3000)),
            (0x47C, ">BHxxxxx", (500,)),
        )
    ]

    def forever(work: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                work()
        except Exception as error:
            failures.append(error)

    def take() -> None:
        for frame in frames:
            wire.feedback.take(frame)

    def read() -> None:
        found = wire.feedback.answers(wire.clock.monotonic_ns()).motor_limits
        assert all(limit.max_speed_rad_s == 3.0 for limit in found.values())

    work = (take, read, lambda: wire.feedback.forget(0))
    threads = [threading.Thread(target=forever, args=(each,)) for each in work]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        done.wait(1.0)
        done.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert not failures, failures


def test_the_pose_to_enable_from_is_agreed_on_by_frames_and_motors(wire: Wire) -> None:
    def doubt() -> str:
        return wire.feedback.doubt(wire.clock.monotonic_ns())

    degrees = [0.0, 68.0, -63.0, 0.0, 57.0, 0.0]
    assert "joints 1-2 (0x2A5) (never)" in doubt()
    wire.say_pose(degrees, 30.0)
    assert "0x2A5 came 1 times, 5 are needed" in doubt()
    wire.say_pose(degrees, 30.0, times=4)
    assert "its motor (0x251) says nothing" in doubt()
    for motor in range(6):
        wire.say_motor_position(motor, degrees[motor])
    assert doubt() == ""
    wire.say_motor_position(1, 0.0)
    assert "joint2 at 1.187, its motor (0x252) at 1.187" not in doubt()
    wire.clock.advance(0.2)
    for _ in range(3):
        wire.say_motor_position(1, 0.0)
    wire.say_pose(degrees, 30.0, times=8)
    assert "joint2 at 1.187, its motor (0x252) at 0.000" in doubt()


@pytest.mark.parametrize(("apart_deg", "doubted"), [(0.0, False), (2.0, False), (3.0, True)])
def test_the_two_degrees_of_firmwares_are_no_doubt_and_more_is(
    wire: Wire, apart_deg: float, doubted: bool
) -> None:
    """The encoders' noise (0.01 rad) on top of what motors and controller may count apart."""
    degrees = [0.0, 68.0, -63.0, 0.0, 57.0, 0.0]
    wire.say_pose(degrees, 30.0, times=8)
    for _ in range(3):
        for motor in range(6):
            wire.say_motor_position(motor, degrees[motor] + (apart_deg if motor == 1 else 0.0))
    doubt = wire.feedback.doubt(wire.clock.monotonic_ns())
    assert ("joint2" in doubt and "motors_within_rad" in doubt) if doubted else doubt == ""


def test_stale_values_are_not_a_pose(wire: Wire) -> None:
    wire.say_pose([10, 20, -30, 40, 50, 60], 70.0)
    wire.wait(0.1)
    assert wire.pose() is not None
    wire.wait(0.001)
    assert wire.pose() is None


def test_a_process_that_was_not_run_does_not_blame_the_arm(wire: Wire) -> None:
    """Until it has listened again it does not know; after 0.3 s it does not wait any longer."""
    wire.say_pose([10, 20, -30, 40, 50, 60], 70.0)
    wire.clock.advance(0.25)
    assert wire.pose() is not None
    wire.say_pose([10, 20, -30, 40, 50, 60], 70.0)
    assert wire.pose() is not None
    wire.clock.advance(0.31)
    assert wire.pose() is None


def test_one_stale_pair_is_enough_and_is_named(wire: Wire) -> None:
    """The SDK stamps the three joint frames with one stamp, which would hide this."""
    wire.say_pose([10, 20, -30, 40, 50, 60], 70.0)
    wire.wait(0.08)
    for can_id in (0x2A5, 0x2A7, 0x2A8, 0x2A1):
        wire.say(can_id, bytes(8))
    wire.wait(0.03)
    assert wire.pose() is None
    assert wire.stale().startswith("joints 3-4 (0x2A6) (0.110 s old)")


def test_a_pose_is_as_old_as_its_oldest_frame(wire: Wire) -> None:
    start_ns = wire.clock.now_ns()
    wire.say_pose([0] * 6, 0.0)
    wire.wait(0.02)
    wire.say(0x2A5, bytes(8))
    state = wire.feedback.pose(wire.clock.monotonic_ns())
    assert state is not None and state.stamp_ns == start_ns


def test_velocities_are_the_motors_own_or_else_the_change_of_position(wire: Wire) -> None:
    wire.say_pose([0, 0, 0, 0, 0, 0], 0.0)
    for _ in range(3):
        wire.say(0x251, struct.pack(">hhi", -1500, 0, 0))
    wire.wait(0.005)
    wire.say_pose([0, 1, 0, 0, 0, 0], 1.0, times=1)
    state = wire.feedback.pose(wire.clock.monotonic_ns())
    assert state is not None
    assert state.velocities[0] == pytest.approx(-1.5)
    assert state.velocities[1] == pytest.approx(np.deg2rad(1) / 0.005)
    assert state.velocities[6] == pytest.approx(0.001 / 0.005)


def test_motor_bits_have_names(wire: Wire) -> None:
    wire.say_motors(ENABLED | 0b10 | 0b10000)
    motor = wire.feedback.motors(wire.clock.monotonic_ns())[0]
    assert motor is not None and motor.enabled
    assert motor.problem == "motor over temperature, collision"
    assert motor.voltage_v == pytest.approx(24.0)
    assert motor.motor_temperature_c == 33.0


def test_enable_bits_from_before_the_question_do_not_answer_it(wire: Wire) -> None:
    wire.say_motors()
    asked_ns = wire.clock.monotonic_ns() + 1
    wire.wait(0.025)
    assert wire.feedback.motors(wire.clock.monotonic_ns(), since_ns=asked_ns) == (None,) * 6
    wire.say_motors()
    assert all(wire.feedback.motors(wire.clock.monotonic_ns(), since_ns=asked_ns))


def test_status_problems_are_named_with_their_joints(wire: Wire) -> None:
    wire.say(0x2A1, bytes([1, 7, 1, 0, 0, 0, 0b000100, 0b000001]))
    status = wire.feedback.status(wire.clock.monotonic_ns())
    assert status is not None
    said = "arm status 7 (collision), joint3 over its limit, joint1 communication fault"
    assert status.problem == said


@pytest.mark.parametrize(
    ("frames", "role"),
    [
        ([], Role.UNKNOWN),
        ([(0x2A1, bytes([0]))], Role.FOLLOWER),
        ([(0x2A1, bytes([6]))], Role.LEADER),
        ([(0x2B5, bytes(8)), (0x2A1, bytes([0]))], Role.LEADER),
        ([(0x2C1, bytes(8))], Role.LEADER),
    ],
)
def test_roles(wire: Wire, frames: list[tuple[int, bytes]], role: Role) -> None:
    for can_id, data in frames:
        wire.say(can_id, data)
    assert wire.feedback.role(wire.clock.monotonic_ns()) is role


def test_every_motors_own_limits_are_kept(wire: Wire) -> None:
    """The SDK's "all motors" getter holds the last motor's answer six times."""
    for motor in range(1, 7):
        wire.say(0x473, struct.pack(">BhhH", motor, 100 * motor, -50 * motor, 3000))
        wire.say(0x47C, struct.pack(">BH", motor, 5000 if motor % 2 else 500))
    limits = wire.feedback.answers(wire.clock.monotonic_ns()).motor_limits
    assert sorted(limits) == [1, 2, 3, 4, 5, 6]
    for motor, found in limits.items():
        assert found.upper_rad == pytest.approx(np.deg2rad(10 * motor))
        assert found.lower_rad == pytest.approx(np.deg2rad(-5 * motor))
        assert (found.max_speed_rad_s, found.max_acceleration_rad_s2) == (3.0, 5.0)


def test_collision_levels_are_read(wire: Wire) -> None:
    wire.say(0x47B, bytes([1, 2, 3, 4, 5, 9]))
    assert wire.feedback.answers(wire.clock.monotonic_ns()).collision_levels == ()
    wire.say(0x47B, bytes([1, 2, 3, 4, 5, 6]))
    assert wire.feedback.answers(wire.clock.monotonic_ns()).collision_levels == (1, 2, 3, 4, 5, 6)
