"""The driver against the emulated arm: what it does when nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.errors import ArmNotReadyError, BusyError, TrajectoryError
from mvista_core.records import JointCommand
from mvista_piper import protocol
from mvista_piper.emulator.settings import EmulatorSettings
from mvista_piper.status import Mode
from tests.piper.cell import HOME, MOVING, PERIOD_S, PIPER, cell


def test_it_asks_before_anything_moves_and_waits_for_the_operator() -> None:
    with cell() as c:
        took_s = c.until(lambda: c.driver.mode is Mode.READY, 1.0)
        assert took_s < 0.1
        c.run(1.0)
        assert not [can_id for _, can_id, _ in c.sent if can_id in MOVING]
        identity = c.driver.status().identity
        assert identity is not None and identity.firmware == "S-V1.8-8"
        assert identity.collision_levels == (5,) * 6


def test_enabling_is_verified_and_begins_at_the_measured_pose() -> None:
    with cell() as c:
        c.enable()
        order = [can_id for _, can_id, _ in c.sent if can_id in MOVING]
        assert order[:2] == [protocol.ENABLE, protocol.JOINTS[0]]
        for _, angles in c.set_points():
            np.testing.assert_allclose(angles, HOME[:6], atol=2e-5)
        np.testing.assert_allclose(c.measured.positions, HOME, atol=1e-4)


def test_an_arm_that_lies_without_power_is_enabled_where_it_lies() -> None:
    with cell(EmulatorSettings()) as c:
        c.enable()
        np.testing.assert_allclose(c.measured.positions, 0.0, atol=1e-3)
        for _, angles in c.set_points():
            np.testing.assert_allclose(angles, 0.0, atol=1e-3)


def test_joint_states_come_with_each_set_at_200_hz_stamped_by_capture() -> None:
    with cell() as c:
        stamps_ns: list[int] = []
        c.driver.listen(lambda state: stamps_ns.append(state.stamp_ns))
        c.run(1.0)
        assert len(stamps_ns) >= 195  # the first three sets must agree before they count
        np.testing.assert_allclose(np.diff(stamps_ns) * 1e-9, PERIOD_S, atol=1e-6)
        rate_hz = c.driver.status().frame_rate_hz
        c.run(0.1)
        rate_hz = c.driver.status().frame_rate_hz
        assert rate_hz == pytest.approx(3040, rel=0.01)


def test_a_stream_moves_the_arm_as_sent() -> None:
    with cell() as c:
        c.enable()
        assert c.stream(3, 0.8, 0.5) is None
        c.run(0.5)
        assert c.arm.joints_rad[3] == pytest.approx(0.4, abs=0.01)
        assert c.driver.mode is Mode.HOLDING


def test_the_gripper_is_a_joint_like_the_others() -> None:
    with cell() as c:
        c.enable()
        assert c.stream(6, 0.1, 0.5) is None
        c.run(0.5)
        assert c.arm.gripper_m == pytest.approx(0.05, abs=1e-3)
        assert c.measured.positions[6] == pytest.approx(0.05, abs=1e-3)


def test_nothing_is_accepted_before_enabling() -> None:
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 1.0)
        with pytest.raises(ArmNotReadyError, match="enable"):
            c.send(HOME)
        with pytest.raises(TrajectoryError):
            c.send(np.full(7, np.nan))
        assert c.driver.status().refused_commands == 2


def test_enabling_twice_is_refused_without_harm() -> None:
    with cell() as c:
        c.enable()
        with pytest.raises(BusyError):
            c.driver.enable()
        with pytest.raises(BusyError):
            c.driver.rearm()
        with pytest.raises(BusyError):
            c.driver.make_follower()
        assert c.driver.mode is Mode.HOLDING


def test_a_jump_is_refused_whole_and_the_arm_brakes() -> None:
    with cell() as c:
        c.enable()
        c.stream(0, 1.0, 0.3)
        last = c.set_points()[-1][1]
        with pytest.raises(TrajectoryError, match="joint4 would step"):
            c.send(np.array([last[0] + 0.005, *last[1:3], last[3] + 0.1, *last[4:], 0.0]))
        assert c.driver.mode is Mode.HOLDING
        c.run(1.0)
        braked = last + np.eye(6)[0] * 1.0**2 / (2 * 5.0)
        np.testing.assert_allclose(c.arm.joints_rad, braked, atol=5e-3)


def test_one_bad_set_point_does_not_end_a_good_stream() -> None:
    with cell() as c:
        c.enable()
        c.stream(0, 1.0, 0.3)
        last = np.append(c.set_points()[-1][1], 0.0)
        with pytest.raises(TrajectoryError):
            c.send(np.full(7, np.nan))
        c.tick()
        assert c.stream(0, 1.0, 0.2, start=last) is None
        assert c.driver.mode is Mode.TRACKING


def test_the_same_command_is_refused_wherever_it_first_fails() -> None:
    with cell() as c:
        c.enable()
        wrong = JointCommand(("joint1", "elbow"), np.zeros(2), np.zeros(2), 0)
        with pytest.raises(TrajectoryError, match="elbow"):
            c.driver.send(wrong)
        beyond = HOME.copy()
        beyond[1] = -0.1
        with pytest.raises(TrajectoryError, match="joint2 at -0.1000 is outside"):
            c.send(beyond)


def test_a_driver_that_was_not_run_takes_up_the_stream_that_waits_for_it() -> None:
    """0.125 s without the driver: no fault, no hold, and the next set-point is within reach."""
    with cell() as c:
        c.enable()
        c.stream(0, 0.5, 0.3)
        goal = np.append(c.set_points()[-1][1], 0.0)
        for _ in range(25):
            c.pass_period()
        goal[0] += 0.5 * 26 * PERIOD_S
        c.driver.tick()
        c.send(goal)
        assert c.stream(0, 0.5, 0.2, start=goal) is None
        assert c.driver.mode is Mode.TRACKING


def test_a_hold_brakes_within_the_acceleration_limit() -> None:
    with cell() as c:
        c.enable()
        goal, speed = c.measured.positions.copy(), 0.0
        for _ in range(100):
            speed = min(speed + 4.0 * PERIOD_S, 1.5)
            goal[0] += speed * PERIOD_S
            c.send(goal)
            c.tick()
        began_s = c.now_s
        c.driver.hold()
        took_s = c.until(lambda: not c.driver.braking, 1.0)
        assert took_s == pytest.approx(1.5 / 5.0, abs=0.03)
        points = [angles[0] for _, angles in c.set_points(began_s - 3 * PERIOD_S)]
        speeds = np.diff(points) / PERIOD_S
        assert np.abs(np.diff(speeds[:40])).max() <= 5.0 * PERIOD_S + 0.01
        c.run(0.5)
        assert c.arm.joints_rad[0] == pytest.approx(points[-1], abs=2e-3)


def test_leaving_sends_nothing_and_the_arm_goes_on_holding() -> None:
    with cell() as c:
        c.enable()
        c.stream(0, 0.5, 0.3)
        sent = len(c.sent)
        c.driver.close()
        for _ in range(200):
            c.pass_period()
        assert len(c.sent) - sent <= 4
        assert all(c.arm.controller.enabled)
        assert c.arm.joints_rad[0] == pytest.approx(0.15, abs=0.01)


def test_an_arm_that_comes_later_is_found_without_a_restart() -> None:
    with cell() as c:
        c.arm.faults.silent = True
        c.run(3.0)
        status = c.driver.status()
        assert status.mode is Mode.SEARCHING
        assert status.reason is not None and "Check power" in str(status.reason)
        c.arm.faults.silent = False
        assert c.until(lambda: c.driver.mode is Mode.READY, 2.0) <= 1.0


def test_an_arm_file_without_a_gripper_needs_none() -> None:
    assert PIPER.joint_names[-1] == "gripper"
    with cell(enable_at_start=True) as c:
        c.until(lambda: c.driver.mode is Mode.HOLDING, 1.0)
