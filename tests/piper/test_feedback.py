"""Stamps, not values: what counts as feedback and for how long. Frames are written by hand here."""

from __future__ import annotations

import struct
from collections.abc import Callable

import can
import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.timing import ManualClock
from mvista_piper.feedback import Feedback
from mvista_piper.identity import Role
from mvista_piper.link import PiperLink
from mvista_piper.protocol import JOINT_FEEDBACK

Join = Callable[[], can.BusABC]
ENABLED = 0x40


class Wire:
    """An arm of our own making on one side, link and feedback on the other."""

    def __init__(self, join: Join, arm: ArmModel) -> None:
        self.clock = ManualClock(50 * 10**9)
        self.link = PiperLink(join, self.clock)
        self.link.open()
        self.feedback = Feedback(self.link.sdk, arm.joint_names, 0.1, 0.3)
        self._arm = join()

    def say(self, can_id: int, data: bytes) -> bool:
        """One frame of the arm; whether it completed a set of joints."""
        data = data.ljust(8, b"\0")
        self._arm.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
        received = self.link.receive(0.0)
        assert received is not None and received[0] == can_id
        return self.feedback.take(*received)

    def say_pose(self, degrees: list[float], opening_mm: float) -> list[bool]:
        done = [
            self.say(can_id, struct.pack(">ii", *(round(v * 1000) for v in degrees[2 * k :][:2])))
            for k, can_id in enumerate(JOINT_FEEDBACK)
        ]
        return [*done, self.say(0x2A8, struct.pack(">ihB", round(opening_mm * 1000), 0, ENABLED))]

    def say_motors(self, bits: int = ENABLED) -> None:
        for motor in range(6):
            self.say(0x261 + motor, struct.pack(">HhbBH", 240, 31, 33, bits, 0))

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


def test_zeros_before_the_first_frame_are_not_a_pose(wire: Wire) -> None:
    assert wire.link.sdk.GetArmJointMsgs().joint_state.joint_1 == 0
    assert wire.pose() is None
    assert "joints 1-2 (0x2A5) (never)" in wire.stale()


def test_a_pose_needs_every_joint_frame_and_the_gripper(wire: Wire) -> None:
    for k, can_id in enumerate(JOINT_FEEDBACK):
        done = wire.say(can_id, struct.pack(">ii", 1000, 2000))
        assert done is (k == 2)
        assert wire.pose() is None
    wire.say(0x2A8, struct.pack(">ihB", 35_000, 0, ENABLED))
    positions = wire.pose()
    assert positions is not None
    np.testing.assert_allclose(positions, [*np.deg2rad([1, 2] * 3), 0.035], atol=1e-9)


def test_stale_values_are_not_a_pose(wire: Wire) -> None:
    wire.say_pose([10, 20, -30, 40, 50, 60], 70.0)
    wire.wait(0.1)
    assert wire.pose() is not None
    wire.wait(0.001)
    assert wire.pose() is None
    assert wire.link.sdk.GetArmJointMsgs().joint_state.joint_1 == 10_000


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
    wire.say(0x251, struct.pack(">hhi", -1500, 0, 0))
    wire.wait(0.005)
    wire.say_pose([0, 1, 0, 0, 0, 0], 1.0)
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


def test_a_firmware_string_counts_when_it_is_whole(wire: Wire) -> None:
    wire.say(0x4AF, b"\0\0\0\0\0S-V")
    assert wire.feedback.answers(wire.clock.monotonic_ns()).firmware == ""
    wire.say(0x4AF, b"1.8-8\0\0\0")
    assert wire.feedback.answers(wire.clock.monotonic_ns()).firmware == "S-V1.8-8"
    wire.say(0x47B, bytes([1, 2, 3, 4, 5, 6]))
    assert wire.feedback.answers(wire.clock.monotonic_ns()).collision_levels == (1, 2, 3, 4, 5, 6)
