"""One test per fault: what the driver does, within how long, and that it neither jumps nor drops.

The cell checks at the end of each test that no disable, no reset and no jump was on the wire.
Times are on the injected clock.
"""

from __future__ import annotations

import can
import numpy as np
import pytest

from mvista_core.errors import (
    ArmFaultError,
    ArmNotReadyError,
    BusLostError,
    EnableError,
    IdentityError,
    MvistaError,
    StaleFeedbackError,
)
from mvista_piper import protocol
from mvista_piper.report import grade
from mvista_piper.status import ARMED, Mode
from tests.piper.cell import HOME, MOVING, PERIOD_S, Cell, cell

pytestmark = pytest.mark.slow


def in_motion(c: Cell) -> None:
    """Enabled, and joint 1 on the way at 1 rad/s."""
    c.enable()
    assert c.stream(0, 1.0, 0.4) is None
    assert c.driver.mode is Mode.TRACKING


def stream_until_fault(c: Cell, joint: int = 0, seconds: float = 1.0) -> float:
    """Go on streaming from the last set-point; how long until the driver latched a fault."""
    began_s = c.now_s
    last = np.append(c.set_points()[-1][1], 0.0)
    c.stream(joint, 1.0, seconds, start=last)
    assert c.driver.mode is Mode.FAULT, c.driver.status()
    return c.now_s - began_s


def assert_latched(c: Cell, error: type[MvistaError], said: str) -> None:
    """The fault is loud, sends nothing, takes nothing, and does not go away by itself."""
    reason = c.driver.reason
    assert isinstance(reason, error) and said in str(reason), reason
    level, message = grade(c.driver.status(), 2500.0)
    assert level == "ERROR" and f"[{error.code}]" in message
    before_s = c.now_s + PERIOD_S
    c.run(1.0)
    assert not [i for t, i, _ in c.sent if t > before_s and i in MOVING]
    with pytest.raises(error):
        c.send(HOME)
    assert c.driver.mode is Mode.FAULT


def rearm(c: Cell) -> None:
    """The operator re-arms; afterwards the arm takes a stream again, from where it stands."""
    c.driver.rearm()
    c.until(lambda: c.driver.mode in ARMED or c.driver.mode is Mode.FAULT, 3.0)
    assert c.driver.mode is Mode.HOLDING, c.driver.reason
    c.run(0.1)
    assert c.stream(0, 0.2, 0.2) is None


def test_the_arm_falls_silent() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.silent = True
        assert stream_until_fault(c) <= 0.1 + 2 * PERIOD_S
        assert c.driver.state() is None
        assert_latched(c, StaleFeedbackError, "joints 1-2 (0x2A5)")
        c.arm.faults.silent = False
        c.run(0.5)
        assert c.driver.mode is Mode.FAULT
        rearm(c)


def test_the_bus_goes_off() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.bus_off = True
        assert stream_until_fault(c) <= 3 * PERIOD_S
        assert_latched(c, BusLostError, "went off the bus")
        c.arm.faults.bus_off = False
        rearm(c)


def test_the_adapter_is_unplugged() -> None:
    with cell() as c:
        in_motion(c)
        assert c.bus is not None
        c.bus.shutdown()
        assert stream_until_fault(c) <= 3 * PERIOD_S
        assert_latched(c, BusLostError, "closed bus")
        rearm(c)


def test_the_transmit_queue_is_full() -> None:
    """ENOBUFS: twelve frames in a row, three set-points."""
    with cell() as c:
        in_motion(c)
        c.arm.faults.refuse_sends = True
        assert stream_until_fault(c) <= 5 * PERIOD_S
        assert c.driver.status().counters.failed >= 12
        c.arm.faults.refuse_sends = False
        assert_latched(c, BusLostError, "No buffer space available")
        rearm(c)


def test_a_few_sends_that_fail_are_counted_and_said_but_stop_nothing() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.refuse_sends = True
        c.stream(0, 1.0, PERIOD_S, start=np.append(c.set_points()[-1][1], 0.0))
        assert c.driver.mode is Mode.TRACKING and 3 <= c.driver.status().counters.failed < 12
        level, message = grade(c.driver.status(), 0.0)
        assert level == "WARN" and "frames not sent" in message
        c.arm.faults.refuse_sends = False


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_dropped_frames_are_lived_with_and_said(share: float) -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.drop_share = share
        start = np.append(c.set_points()[-1][1], 0.0)
        assert c.stream(0, -0.3, 2.0, start=start) is None
        c.run(1.0)
        rate_hz = c.driver.status().frame_rate_hz
        assert rate_hz == pytest.approx(3040 * (1 - share), rel=0.05)
        level, message = grade(c.driver.status(), 2500.0)
        assert (level == "WARN") is (share > 0.2) and ("frames/s" in message) is (share > 0.2)
        c.arm.faults.drop_share = 0.0
        c.run(0.5)
        np.testing.assert_allclose(c.arm.joints_rad, c.set_points()[-1][1], atol=2e-3)


def test_nearly_all_frames_dropped_is_silence() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.drop_share = 0.99
        assert stream_until_fault(c) <= 0.2
        c.arm.faults.drop_share = 0.0
        assert_latched(c, StaleFeedbackError, "feedback is missing or old")
        rearm(c)


def test_a_motor_gets_too_hot() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.hot_motor = 3
        assert stream_until_fault(c) <= 0.03
        assert_latched(c, ArmFaultError, "arm status 9 (joint fault)")
        c.driver.rearm()
        c.until(lambda: c.driver.mode is Mode.FAULT, 5.0)
        assert_latched(c, EnableError, "did not take CAN control")
        c.arm.faults.hot_motor = 0
        rearm(c)


def test_the_motor_that_is_hot_is_named_with_its_temperature() -> None:
    with cell() as c:
        c.enable()
        c.arm.faults.hot_motor = 3
        c.until(lambda: c.driver.mode is Mode.FAULT, 0.1)
        c.run(0.1)
        motor = c.driver.status().motors[2]
        assert motor is not None and motor.motor_temperature_c == 95
        assert motor.problem == "motor over temperature, driver over temperature"


def test_a_collision() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.collision = 2
        assert stream_until_fault(c) <= 3 * PERIOD_S
        c.arm.faults.collision = 0
        assert_latched(c, ArmFaultError, "arm status 7 (collision)")
        rearm(c)


@pytest.mark.parametrize("joint", [1, 4, 6])
def test_a_joints_feedback_stops(joint: int) -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.lost_joint = joint
        assert stream_until_fault(c) <= 0.1 + 2 * PERIOD_S
        c.run(0.2)
        assert c.driver.state() is None
        c.arm.faults.lost_joint = 0
        assert_latched(c, ArmFaultError, f"joint{joint} communication fault")
        rearm(c)


def test_a_joints_feedback_is_frozen() -> None:
    """Its frames come and are fresh, its value does not move: found 0.1 rad away."""
    with cell() as c:
        in_motion(c)
        c.arm.faults.frozen_joint = 1
        assert stream_until_fault(c) <= 0.1 + 4 * PERIOD_S
        assert_latched(c, ArmFaultError, "frozen feedback or a blocked joint")
        c.arm.faults.frozen_joint = 0
        rearm(c)


def test_a_motor_does_not_enable() -> None:
    with cell() as c:
        c.arm.faults.not_enabling = 5
        c.until(lambda: c.driver.mode is Mode.READY, 1.0)
        began_s = c.now_s
        c.driver.enable()
        c.until(lambda: c.driver.mode is Mode.FAULT, 6.0)
        assert c.now_s - began_s == pytest.approx(5.0, abs=0.05)
        assert_latched(c, EnableError, "motor 5: no fault bit, enable bit (6) not set")
        assert not c.set_points()
        asked = [t for t, i, _ in c.sent if i == protocol.ENABLE]
        assert 45 <= len(asked) <= 52


def test_a_motor_loses_its_enabling_in_motion() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.faults.not_enabling = 5
        assert stream_until_fault(c) <= 0.03
        assert_latched(c, ArmFaultError, "motor 5 is no longer enabled")


def test_old_dh_firmware_is_refused() -> None:
    with cell() as c:
        c.arm.faults.old_dh = True
        c.until(lambda: c.driver.mode is Mode.REFUSED, 1.0)
        reason = c.driver.reason
        assert isinstance(reason, IdentityError) and "S-V1.5-8" in str(reason)
        assert "2 degrees" in str(reason) and "S-V1.6-3 or later" in str(reason)
        with pytest.raises(ArmNotReadyError, match="S-V1.5-8"):
            c.driver.enable()
        c.run(1.0)
        assert not [i for _, i, _ in c.sent if i in MOVING]


def test_a_leader_is_refused_until_it_is_made_a_follower() -> None:
    with cell() as c:
        c.arm.faults.leader = True
        c.until(lambda: c.driver.mode is Mode.REFUSED, 2.5)
        assert isinstance(c.driver.reason, IdentityError)
        assert "leader" in str(c.driver.reason) and "make_follower" in str(c.driver.reason)
        assert not [i for _, i, _ in c.sent if i in MOVING]
        c.driver.make_follower()
        c.until(lambda: c.driver.mode is Mode.READY, 2.0)


def test_a_leader_that_is_moved_is_no_second_writer_but_a_leader() -> None:
    with cell() as c:
        c.arm.faults.leader = True
        c.run(0.1)
        c.arm.controller.guide(0, 0.8)
        c.until(lambda: c.driver.mode is Mode.REFUSED, 2.5)
        assert "leader" in str(c.driver.reason)


@pytest.mark.parametrize("can_id", [protocol.MODE, protocol.JOINTS[1], protocol.GRIPPER])
def test_a_second_writer_is_on_the_bus(can_id: int) -> None:
    with cell() as c:
        in_motion(c)
        other = c.wire.open()
        other.send(can.Message(arbitration_id=can_id, data=bytes(8), is_extended_id=False))
        assert stream_until_fault(c) <= 2 * PERIOD_S
        ours = [entry for entry in c.sent if entry[2] != bytes(8)]
        c.sent = ours
        assert_latched(c, ArmFaultError, f"0x{can_id:03X} that this driver did not send")
        other.shutdown()


def test_an_arm_with_another_writer_is_not_enabled() -> None:
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 1.0)
        other = c.wire.open()
        other.send(can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=False))
        c.tick()
        with pytest.raises(ArmNotReadyError, match="0x155"):
            c.driver.enable()
        other.shutdown()
        c.sent.clear()
        c.run(1.1)
        c.enable()


def test_the_command_stream_dies_in_mid_motion() -> None:
    with cell() as c:
        in_motion(c)
        last = c.set_points()[-1][1]
        took_s = c.until(lambda: c.driver.mode is Mode.HOLDING, 0.2)
        assert took_s <= 0.1 + 2 * PERIOD_S
        c.run(1.0)
        for _, angles in c.set_points(c.now_s - 0.9):
            np.testing.assert_array_equal(angles, last)
        np.testing.assert_allclose(c.arm.joints_rad, last, atol=1e-3)
        assert c.driver.reason is None
        assert c.stream(0, 0.3, 0.3) is None


def test_the_wall_clock_steps_by_a_second_in_mid_motion() -> None:
    with cell() as c:
        in_motion(c)
        for step_ns in (10**9, -(10**9)):
            c.clock.stepped_ns += step_ns
            start = np.append(c.set_points()[-1][1], 0.0)
            assert c.stream(0, 1.0, 0.3, start=start) is None
            assert c.driver.mode is Mode.TRACKING
            assert c.measured.stamp_ns == pytest.approx(c.clock.now_ns(), abs=2e7)


def test_someone_takes_the_arm_into_teach_mode() -> None:
    with cell() as c:
        in_motion(c)
        c.arm.controller.ctrl_mode = int(protocol.CtrlMode.TEACH)
        assert stream_until_fault(c) <= 3 * PERIOD_S
        assert_latched(c, ArmFaultError, "ctrl_mode 2 (teach)")


def test_an_emergency_stop_is_not_undone_from_here() -> None:
    with cell() as c:
        c.enable()
        c.driver.quick_stop()
        c.run(0.1)
        assert c.arm.controller.stopped
        assert_latched(c, ArmFaultError, "emergency stop")
        c.driver.rearm()
        c.until(lambda: c.driver.mode is Mode.FAULT, 3.0)
        assert "support it" in str(c.driver.reason)
