"""Frames that say what cannot be: what is published, what is sent and what is refused, and why.

The driver against the emulated arm on the injected clock; test_untrusted_node.py shows the same of
the node's process. The cell checks at the end of each test that no set-point was a jump.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import can
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_core.errors import (
    ArmFaultError,
    ArmNotReadyError,
    BusLostError,
    IdentityError,
    MvistaError,
    StaleFeedbackError,
)
from mvista_core.records import JointState
from mvista_core.timing import ns_to_seconds
from mvista_piper import protocol
from mvista_piper.driver import PiperDriver
from mvista_piper.emulator.settings import EmulatorSettings
from mvista_piper.link import PiperLink, ReceivedFrame
from mvista_piper.report import grade
from mvista_piper.settings import PiperSettings
from mvista_piper.status import ARMED, Mode
from tests.piper.cell import HOME, PERIOD_S, PIPER, POWERED, Cell, cell

pytestmark = pytest.mark.slow

MOVING = (protocol.MODE, *protocol.JOINTS, protocol.GRIPPER, protocol.ENABLE)
CANNOT_BE = {
    "4 bytes": lambda c: setattr(c.arm.faults, "short_joint", 2),
    "29-bit ids": lambda c: setattr(c.arm.faults, "wide_joint", 2),
    "beyond 3,000 degrees": lambda c: wild(c, 2, 70.0),
    "beyond the joint's range": lambda c: wild(c, 2, 34.9),
    "no gripper's opening": lambda c: wild(c, 7, 2.0),
}


def wild(c: Cell, joint: int, value: float, frames: int = 0) -> None:
    faults = c.arm.faults
    faults.wild_value, faults.wild_frames, faults.wild_joint = value, frames, joint


def published(c: Cell) -> list[JointState]:
    states: list[JointState] = []
    c.driver.listen(states.append)
    return states


@pytest.mark.parametrize("kind", CANNOT_BE)
def test_an_arm_that_never_gave_a_value_has_no_pose_and_is_not_enabled(kind: str) -> None:
    """The SDK's zeros were READY, and enabling drove the arm to them at 2.4 rad/s."""
    with cell(enable_at_start=True) as c:
        CANNOT_BE[kind](c)
        states = published(c)
        c.run(3.0)
        assert not states and c.driver.state() is None
        assert c.driver.mode is Mode.SEARCHING
        assert isinstance(c.driver.reason, StaleFeedbackError) and "never" in str(c.driver.reason)
        level, message = grade(c.driver.status(), 0.0)
        assert level == "ERROR" and "[32]" in message
        with pytest.raises(ArmNotReadyError, match="never"):
            c.driver.enable()
        assert not [i for _, i, _ in c.sent if i in MOVING]
        np.testing.assert_allclose(c.arm.joints_rad, HOME[:6], atol=1e-6)
        c.arm.faults.clear()
        c.until(lambda: c.driver.mode in ARMED, 2.0)


@pytest.mark.parametrize("kind", CANNOT_BE)
def test_frames_that_give_no_value_any_more_are_a_fault_and_refresh_nothing(kind: str) -> None:
    with cell() as c:
        c.enable()
        assert c.stream(0, 1.0, 0.4) is None
        CANNOT_BE[kind](c)
        states = published(c)
        began_s = c.now_s
        c.stream(0, 1.0, 0.5, start=np.append(c.set_points()[-1][1], 0.0))
        assert c.driver.mode is Mode.FAULT and c.now_s - began_s <= 0.15
        assert isinstance(c.driver.reason, ArmFaultError | StaleFeedbackError)
        assert c.driver.reason.code in (32, 37)
        assert len(states) <= 2
        c.run(0.5)
        assert c.driver.state() is None


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize(("joint", "value"), [(1, 34.9), (1, 1.38), (4, -0.0), (7, 0.08), (3, 0.1)])
def test_an_outlier_ends_nothing_and_is_not_published(
    joint: int, value: float, frames: int
) -> None:
    start = (0.0, 1.2, -1.1, 0.9, 1.0, 0.0)
    with cell(EmulatorSettings(joints_rad=start, enabled=True)) as c:
        c.enable()
        assert c.stream(0, 1.0, 0.4) is None
        states = published(c)
        wild(c, joint, value, frames)
        assert c.stream(0, 1.0, 0.3, start=np.append(c.set_points()[-1][1], 0.0)) is None
        assert c.driver.mode is Mode.TRACKING
        assert len(states) >= 50
        for before, after in itertools.pairwise(states):
            seconds = ns_to_seconds(after.stamp_ns - before.stamp_ns)
            assert np.abs(after.positions - before.positions).max() <= 3.0 * seconds + 1e-3
        assert f"{frames} of 0x" in c.driver.status().drops


def test_outliers_that_come_again_and_again_are_said() -> None:
    with cell() as c:
        c.enable()
        for _ in range(150):
            wild(c, 1, 34.9, 1)
            c.run(2 * PERIOD_S)
        assert c.driver.mode is Mode.HOLDING
        level, message = grade(c.driver.status(), 0.0)
        assert level == "WARN" and "frames/s dropped" in message and "of 0x2A5 (joint1" in message
        c.run(2.1)
        assert grade(c.driver.status(), 0.0)[0] == "OK"


def test_a_run_of_outliers_is_a_fault_with_a_number() -> None:
    with cell() as c:
        c.enable()
        assert c.stream(0, 1.0, 0.4) is None
        wild(c, 1, 1.6, 5)
        began_s = c.now_s
        c.stream(0, 1.0, 0.3, start=np.append(c.set_points()[-1][1], 0.0))
        assert c.driver.mode is Mode.FAULT and c.now_s - began_s <= 7 * PERIOD_S
        assert isinstance(c.driver.reason, ArmFaultError)
        assert "5 frames in a row" in str(c.driver.reason) and "joint1" in str(c.driver.reason)
        level, message = grade(c.driver.status(), 0.0)
        assert level == "ERROR" and "[37]" in message
        c.run(0.2)
        c.driver.rearm()
        c.until(lambda: c.driver.mode in ARMED, 3.0)


@pytest.mark.parametrize("after", range(40))
def test_an_outlier_at_any_moment_of_enabling_is_no_set_point(after: int) -> None:
    """At one moment of enabling it became the first set-point, 0.98 rad away."""
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        c.driver.enable()
        for _ in range(after):
            c.tick()
        wild(c, 1, 0.98, 1)
        c.until(lambda: c.driver.mode in ARMED, 3.0)
        c.run(0.3)
        points = c.set_points()
        assert points
        for _, angles in points:
            np.testing.assert_allclose(angles, HOME[:6], atol=1e-3)
        np.testing.assert_allclose(c.arm.joints_rad, HOME[:6], atol=1e-3)


@pytest.mark.parametrize("joint", [1, 2, 6])
def test_a_joint_that_its_own_motor_contradicts_is_not_enabled(joint: int) -> None:
    with cell() as c:
        wild(c, joint, 0.7)
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        c.driver.enable()
        c.until(lambda: c.driver.mode is Mode.FAULT, 3.0)
        reason = c.driver.reason
        assert isinstance(reason, ArmNotReadyError) and reason.code == 33
        assert f"joint{joint} at 0.700, its motor (0x25{joint})" in str(reason)
        assert not [i for _, i, _ in c.sent if i in MOVING]
        c.arm.faults.clear()
        c.run(0.3)
        c.driver.rearm()
        c.until(lambda: c.driver.mode in ARMED, 3.0)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_status_that_cannot_be_ends_nothing_and_a_run_of_them_does(frames: int) -> None:
    with cell() as c:
        c.enable()
        c.arm.faults.wild_status = frames
        c.run(0.3)
        assert c.driver.mode is Mode.HOLDING and "ctrl_mode 204" in c.driver.status().drops
        c.arm.faults.wild_status = 100
        c.until(lambda: c.driver.mode is Mode.FAULT, 0.1)
        assert isinstance(c.driver.reason, ArmFaultError)
        assert "0x2A1: ctrl_mode 204 is unknown" in str(c.driver.reason)


def test_a_motors_temperature_that_cannot_be_is_a_fault_in_a_run() -> None:
    with cell() as c:
        c.enable()
        c.arm.faults.wild_motor = 4
        c.until(lambda: c.driver.mode is Mode.FAULT, 0.3)
        assert "0x264: 300 C is no temperature" in str(c.driver.reason)


@pytest.mark.parametrize("firmware", ["S-V1.8-10", "S-V1.6-10", "S-V1.8-8", "S-V1.6-3"])
def test_firmware_with_more_digits_is_read_whole_and_agreed_to(firmware: str) -> None:
    with cell(EmulatorSettings(firmware=firmware)) as c:
        c.until(lambda: c.driver.mode is Mode.READY, 2.0)
        identity = c.driver.status().identity
        assert identity is not None and identity.firmware == firmware


def test_a_newer_firmware_is_refused_by_its_whole_name_and_taken_when_vouched_for() -> None:
    with cell(EmulatorSettings(firmware="S-V1.10-1")) as c:
        c.until(lambda: c.driver.mode is Mode.REFUSED, 2.0)
        assert isinstance(c.driver.reason, IdentityError)
        assert "'S-V1.10-1'" in str(c.driver.reason)
    with cell(EmulatorSettings(firmware="S-V1.10-1"), accept_firmware="S-V1.10-1") as c:
        c.until(lambda: c.driver.mode is Mode.READY, 2.0)


@pytest.mark.parametrize("stalled_s", [0.2, 0.6, 2.0])
def test_frames_that_waited_are_as_old_as_they_are(stalled_s: float) -> None:
    """The process is not run; meanwhile the arm falls silent. What waits is no present pose."""
    with cell() as c:
        c.enable()
        states = published(c)
        c.arm.faults.silent = False
        c.pass_period()
        c.arm.controller.place(0, 0.3)
        for _ in range(5):
            c.pass_period()
        last_true_ns = c.clock.now_ns()
        c.arm.faults.silent = True
        c.clock.advance(stalled_s)
        c.driver.poll()
        c.driver.tick()
        assert all(state.stamp_ns <= last_true_ns for state in states)
        if stalled_s > 0.3:
            assert c.driver.state() is None
            assert c.driver.mode is Mode.FAULT and isinstance(c.driver.reason, MvistaError)


def test_strange_frames_between_do_not_end_a_look_at_the_bus() -> None:
    """Remote, error and 29-bit frames are no silence: the rest of what waits is taken."""
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        assert c.bus is not None
        for message in (
            can.Message(arbitration_id=0x2A5, is_remote_frame=True, is_extended_id=False),
            can.Message(arbitration_id=0x1234567, data=bytes(8), is_extended_id=True),
            can.Message(arbitration_id=4, is_error_frame=True, is_extended_id=False),
        ):
            message.timestamp = c.clock.now_ns() / 1e9
            c.bus.deliver(message)
        received = c.driver.status().counters.received
        c.wire.pump()
        c.clock.advance(PERIOD_S)
        c.driver.poll()
        assert c.driver.status().counters.received > received
        counters = c.driver.status().counters
        assert (counters.flawed, counters.strange, counters.error_frames) == (0, 2, 1)


class Interrupted(PiperLink):
    """A link whose reading thread is stopped between an error and telling it."""

    meanwhile: Callable[[], None] | None = None

    def receive(self, timeout_s: float) -> ReceivedFrame | None:
        try:
            return super().receive(timeout_s)
        except BusLostError:
            if self.meanwhile is not None:
                self.meanwhile()
            raise


def test_an_error_of_the_bus_before_is_none_of_the_one_that_was_opened_afresh() -> None:
    """The operator re-arms while the reading thread is about to say that the bus is gone."""
    with cell() as c:
        link = Interrupted(c.wire.open, c.clock)
        driver = PiperDriver(link, PIPER, PiperSettings(interface="virtual", channel="x"), c.clock)
        driver.open()
        link.meanwhile = driver.open
        link.close()
        assert not driver.receive(0.0)
        link.meanwhile = None
        assert not driver.bus_lost
        for _ in range(100):
            driver.poll()
            driver.tick()
            c.wire.pump()
            c.clock.advance(PERIOD_S)
        assert driver.mode is Mode.READY, driver.reason
        driver.close()


def test_a_frame_of_before_does_not_make_a_freed_leader_a_leader_again() -> None:
    with cell() as c:
        c.arm.faults.leader = True
        c.until(lambda: c.driver.mode is Mode.REFUSED, 2.5)
        c.arm.controller.feedback_offset = 0x10
        c.run(0.1)
        c.driver.make_follower()
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)


FRAME = st.tuples(
    st.sampled_from([*range(0x2A1, 0x2A9), *range(0x251, 0x257), *range(0x261, 0x267), 0x473, 0x47B,
                     0x47C, 0x4AF, 0x2B5, 0x7FF]),
    st.binary(max_size=8),
    st.booleans(),
    st.integers(0, 30),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(FRAME, min_size=1, max_size=40), st.integers(0, 1000))
def test_whatever_is_on_the_bus_nothing_leaps_and_nothing_is_raised(
    frames: list[tuple[int, bytes, bool, int]], seed: int
) -> None:
    """Random frames beside the arm's own while it is enabled and moves."""
    rng = np.random.default_rng(seed)
    with cell(POWERED, enable_at_start=True) as c:
        states = published(c)
        other = c.wire.open()
        goal = HOME.copy()
        script = iter(frames)
        for _ in range(240):
            for can_id, data, extended, _ in [f for f in [next(script, None)] if f]:
                other.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=extended))
            if c.driver.mode in ARMED:
                goal[:6] += rng.uniform(-1.0, 1.0, 6) * PERIOD_S
                try:
                    c.send(np.clip(goal, PIPER.lower, PIPER.upper))
                except MvistaError as error:
                    assert error.code
            elif c.driver.mode is Mode.FAULT:
                goal = HOME.copy()
                try_rearm(c.driver.rearm)
            c.tick()
        other.shutdown()
        for state in states:
            assert (state.positions >= PIPER.lower - 0.3).all() and np.isfinite(
                state.velocities
            ).all()


def try_rearm(rearm: Callable[[], None]) -> None:
    try:
        rearm()
    except MvistaError as error:
        assert error.code
