"""Laws of the emulated arm's motion."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piper_sdk.kinematics.piper_fk import C_PiperForwardKinematics

from mvista_piper import protocol
from mvista_piper.emulator import EmulatedPiper, EmulatorSettings
from mvista_piper.emulator import kinematics as k
from mvista_piper.emulator.dynamics import SINK_RAD_S
from mvista_piper.emulator.feedback import PERIOD_S
from mvista_piper.emulator.kinematics import (
    flange_pose,
    gravity_torques,
    lowest_height_m,
)
from mvista_piper.emulator.settings import LOWER_DEG, UPPER_DEG
from mvista_piper.protocol import EnableCommand, GripperCommand, ModeCommand, StopCommand

HOME = (0.0, 1.2, -1.1, 0.0, 1.0, 0.0)
RAISED = EmulatorSettings(joints_rad=HOME, enabled=True)
LOWER, UPPER = np.radians(LOWER_DEG), np.radians(UPPER_DEG)
FOLLOW = ModeCommand(1, 1, 100, protocol.HIGH_FOLLOW)
POINT_TO_POINT = ModeCommand(1, 1, 100)


def send_joints(arm: EmulatedPiper, q: np.ndarray | tuple[float, ...]) -> None:
    for first, can_id in zip((0, 2, 4), protocol.JOINTS, strict=True):
        arm.receive(can_id, protocol.pack_angles(float(q[first]), float(q[first + 1])))


def ready(mode: ModeCommand = FOLLOW) -> EmulatedPiper:
    arm = EmulatedPiper(RAISED)
    arm.advance(0.05)
    send_joints(arm, HOME)
    arm.receive(protocol.MODE, mode.pack())
    return arm


def trace(arm: EmulatedPiper, seconds: float) -> np.ndarray:
    """True joint angles [N, 6] at the end of every period."""
    return np.array([_one(arm) for _ in range(round(seconds / PERIOD_S))])


def _one(arm: EmulatedPiper) -> list[float]:
    arm.advance(PERIOD_S)
    return arm.joints_rad


def assert_within_limits(positions: np.ndarray, speed: float = 3.0, change: float = 5.0) -> None:
    velocity = np.diff(positions, axis=0) / PERIOD_S
    assert np.abs(velocity).max() <= speed + 1e-9
    assert np.abs(np.diff(velocity, axis=0)).max() / PERIOD_S <= change + 1e-6


poses = st.tuples(
    *(
        st.one_of(st.sampled_from((low, high)), st.floats(low, high))
        for low, high in zip(LOWER, UPPER, strict=True)
    )
)
"""Among them the ends of travel, towards which a stream must not carry a joint too fast."""


@settings(max_examples=12)
@given(st.lists(st.tuples(poses, st.integers(1, 60)), min_size=1, max_size=6), st.booleans())
def test_no_stream_of_targets_makes_a_joint_too_fast(
    stream: list[tuple[tuple[float, ...], int]], follow: bool
) -> None:
    arm = ready(FOLLOW if follow else POINT_TO_POINT)
    positions = [trace(arm, 3 * PERIOD_S)]
    for pose, periods in stream:
        send_joints(arm, pose)
        positions.append(trace(arm, periods * PERIOD_S))
    assert_within_limits(np.concatenate(positions))


@settings(max_examples=8)
@given(poses)
def test_it_arrives_and_says_so(pose: tuple[float, ...]) -> None:
    arm = ready()
    send_joints(arm, pose)
    frames = dict(arm.advance(5.0))
    assert np.allclose(arm.joints_rad, pose, atol=2e-5)
    assert not protocol.ArmStatus.unpack(frames[protocol.STATUS]).moving
    q = protocol.unpack_angles(frames[protocol.JOINT_FEEDBACK[1]])
    assert q == pytest.approx(arm.joints_rad[2:4], abs=1e-5)


def test_a_smooth_stream_is_followed_closely_and_only_in_high_follow() -> None:
    lag = {}
    for mode in (FOLLOW, POINT_TO_POINT):
        arm, worst = ready(mode), 0.0
        for period in range(400):
            q = np.array(HOME)
            q[0] = 0.3 * (1.0 - math.cos(math.pi * period * PERIOD_S))
            send_joints(arm, q)
            arm.advance(PERIOD_S)
            worst = max(worst, abs(arm.joints_rad[0] - q[0]))
        lag[mode.follow] = worst
    assert lag[protocol.HIGH_FOLLOW] < 0.012
    assert lag[0] > 0.05


def test_speed_percent_scales_the_speed() -> None:
    arm = ready(ModeCommand(1, 1, 10))
    send_joints(arm, (2.0, *HOME[1:]))
    assert_within_limits(trace(arm, 2.0), speed=0.3)


def test_frames_of_two_joints_count_one_by_one() -> None:
    arm = ready()
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(0.5, 1.4))
    arm.advance(2.0)
    assert arm.joints_rad == pytest.approx([0.5, 1.4, *HOME[2:]], abs=2e-5)


def test_without_power_it_falls_and_stays_where_it_fell() -> None:
    arm = ready()
    arm.receive(protocol.ENABLE, EnableCommand(7, protocol.MOTOR_OFF).pack())
    fell = trace(arm, 3.0)
    assert np.abs(fell[60] - HOME).max() > 0.05, "it falls at once"
    assert np.abs(np.diff(fell, axis=0)).max() / PERIOD_S > 2 * SINK_RAD_S
    assert lowest_height_m(fell[-1]) < lowest_height_m(HOME) - 0.1
    assert lowest_height_m(fell[-1]) >= 0.0
    assert np.array_equal(fell[-1], fell[-100])
    assert (fell >= LOWER - 1e-9).all() and (fell <= UPPER + 1e-9).all()


def test_one_motor_without_power_falls_alone() -> None:
    arm = ready()
    arm.receive(protocol.ENABLE, EnableCommand(3, protocol.MOTOR_OFF).pack())
    arm.advance(1.0)
    moved = np.abs(np.array(arm.joints_rad) - HOME) > 1e-3
    assert moved.tolist() == [False, False, True, False, False, False]


def test_at_rest_it_needs_no_power() -> None:
    arm = EmulatedPiper()
    arm.advance(5.0)
    assert arm.joints_rad == [0.0] * 6


def test_an_emergency_stop_in_motion_brakes_then_sinks_slowly() -> None:
    arm = ready()
    send_joints(arm, (2.0, *HOME[1:]))
    before = trace(arm, 0.5)
    arm.receive(protocol.STOP, StopCommand(protocol.QUICK_STOP).pack())
    sank = trace(arm, 8.0)
    assert_within_limits(np.concatenate([before, sank[:400]]))  # then it touches the table
    speed = np.abs(np.diff(sank, axis=0)) / PERIOD_S
    braked = round(3.0 / 5.0 / PERIOD_S)
    assert speed[braked:].max() <= SINK_RAD_S + 1e-9
    assert lowest_height_m(sank[-1]) < lowest_height_m(HOME) - 0.05
    heights = [lowest_height_m(q) for q in sank[braked:]]
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(heights))


def test_leaving_an_emergency_stop_drops_the_arm_and_takes_two_enables() -> None:
    arm = ready()
    arm.receive(protocol.STOP, StopCommand(protocol.QUICK_STOP).pack())
    arm.advance(0.5)
    stopped = np.array(arm.joints_rad)
    arm.receive(protocol.STOP, StopCommand(protocol.RESET).pack())
    arm.advance(0.5)
    assert np.abs(np.array(arm.joints_rad) - stopped).max() > 0.2
    on = EnableCommand(7, protocol.MOTOR_ON).pack()
    arm.receive(protocol.ENABLE, on)
    assert not any(arm.controller.enabled)
    arm.receive(protocol.ENABLE, on)
    assert all(arm.controller.enabled)


def test_enabling_holds_where_it_is_whatever_was_asked_before() -> None:
    arm = ready()
    send_joints(arm, (1.0, *HOME[1:]))
    arm.advance(0.3)
    arm.receive(protocol.ENABLE, EnableCommand(7, protocol.MOTOR_OFF).pack())
    arm.advance(3.0)
    fallen = arm.joints_rad
    arm.receive(protocol.ENABLE, EnableCommand(7, protocol.MOTOR_ON).pack())
    arm.advance(1.0)
    assert arm.joints_rad == pytest.approx(fallen, abs=1e-9)


def test_a_set_point_of_another_mode_is_pursued_once_the_mode_allows_it() -> None:
    """What a driver must be safe against: it sends the measured pose before the mode."""
    arm = EmulatedPiper(RAISED)
    send_joints(arm, (0.5, *HOME[1:]))
    arm.advance(1.0)
    assert arm.joints_rad == pytest.approx(HOME)
    arm.receive(protocol.MODE, FOLLOW.pack())
    arm.advance(2.0)
    assert arm.joints_rad[0] == pytest.approx(0.5, abs=2e-5)


def test_a_target_beyond_a_limit_moves_nothing_and_is_named() -> None:
    arm = ready()
    arm.receive(protocol.JOINTS[2], protocol.pack_angles(1.1, math.radians(500.0)))
    status = protocol.ArmStatus.unpack(dict(arm.advance(1.0))[protocol.STATUS])
    assert status.condition == protocol.ArmCondition.OVER_LIMIT
    assert status.error_code == 1 << 8 + 5
    assert arm.joints_rad[4:] == pytest.approx([1.1, 0.0], abs=2e-5)
    send_joints(arm, HOME)
    status = protocol.ArmStatus.unpack(dict(arm.advance(0.1))[protocol.STATUS])
    assert (status.condition, status.error_code) == (protocol.ArmCondition.NORMAL, 0)


def test_the_gripper_opens_within_its_speed_and_stroke() -> None:
    arm = ready()
    arm.receive(protocol.GRIPPER, GripperCommand(0.05, 1.0, 1).pack())
    opened = []
    for _ in range(200):
        arm.advance(PERIOD_S)
        opened.append(arm.gripper_m)
    assert np.diff(opened).max() / PERIOD_S <= 0.2 + 1e-9
    assert opened[-1] == pytest.approx(0.05, abs=5e-6)
    arm.receive(protocol.GRIPPER, GripperCommand(0.2, 1.0, 1).pack())
    arm.advance(1.0)
    assert arm.gripper_m == pytest.approx(0.05, abs=5e-6), "0.2 m is beyond the stroke: refused"


@pytest.mark.parametrize("old_dh", [False, True])
def test_the_flange_is_where_the_sdk_has_it(old_dh: bool) -> None:
    table = C_PiperForwardKinematics(0 if old_dh else 1)
    rng = np.random.default_rng(3)
    for _ in range(100):
        q = rng.uniform(-2.0, 2.0, 6).tolist()
        position, rpy = flange_pose(q, old_dh)
        theirs = np.array(table.CalFK(q)[5])
        assert np.allclose(np.array(position) * 1e3, theirs[:3], atol=1e-6)
        turn = (np.degrees(rpy) - theirs[3:] + 180.0) % 360.0 - 180.0
        assert np.abs(turn).max() < 1e-6


@settings(max_examples=20)
@given(poses)
def test_gravity_turns_joints_downhill_only(q: tuple[float, ...]) -> None:
    """Torques against finite differences of the potential energy, which they are minus of."""

    def energy(x: np.ndarray) -> float:
        upper, fore = x[1] + k.ZERO_2_RAD, x[1] + x[2] + k.ZERO_2_RAD + k.ZERO_3_RAD
        elbow = -k.UPPER_ARM_M * math.sin(upper)
        middle = elbow - k.ELBOW_M * math.sin(fore) + 0.5 * k.FOREARM_M * math.cos(fore)
        wrist = middle + 0.5 * k.FOREARM_M * math.cos(fore)
        along = math.cos(x[4]) * math.cos(fore) - math.sin(x[4]) * math.cos(x[3]) * math.sin(fore)
        hand = wrist + k._HAND_COM_M * along
        masses = (k._UPPER_KG, k._ELBOW_KG, k._FOREARM_KG, k._WRIST_KG, k._HAND_KG)
        heights = (0.5 * elbow, elbow, middle, wrist, hand)
        return k.GRAVITY_M_S2 * float(np.dot(masses, heights))

    step = 1e-6
    for joint, torque in enumerate(gravity_torques(q)):
        ahead, behind = np.array(q), np.array(q)
        ahead[joint] += step
        behind[joint] -= step
        slope = (energy(ahead) - energy(behind)) / (2 * step)
        assert torque == pytest.approx(-slope, abs=1e-6)
