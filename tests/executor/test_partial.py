"""Laws of goals that name only some joints: the others stay, to the bit, within every limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from numpy.typing import NDArray

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import ActionTrajectory, JointState, Provenance
from mvista_core.timing import ManualClock
from mvista_executor.action_messages import goal_from_data, take_message
from mvista_executor.in_process import execute_in_process
from mvista_executor.report import Status
from mvista_executor.stream import ExecutionStream
from mvista_ros.convert import trajectory_to_msg
from tests.executor.rig import (
    FollowerArm,
    assert_within_limits,
    assert_within_limits_between_stalls,
    smooth_points,
    trajectory_of,
)

pytestmark = pytest.mark.slow

seeds = st.integers(0, 2**31 - 1)
few = run(max_examples=12, deadline=None, derandomize=True)
ARM, GRIPPER = (0, 1, 2, 3, 4, 5), (6,)
groups = st.sampled_from([ARM, GRIPPER])


def part(arm: ArmModel, points: NDArray[np.float64], joints: tuple[int, ...]) -> ActionTrajectory:
    """These joints' columns of points [T, 7], in any order."""
    times_s = np.arange(1, len(points) + 1) / 15.0
    names = tuple(arm.joint_names[joint] for joint in joints)
    return ActionTrajectory(names, points[:, joints], times_s, Provenance("plan", "sha", 0))


def others(joints: tuple[int, ...]) -> list[int]:
    return [joint for joint in range(7) if joint not in joints]


@few
@given(seed=seeds, joints=groups, offset=st.sampled_from([0.0, 0.03, 0.2]))
def test_joints_that_are_not_named_stay_to_the_bit(
    arm: ArmModel, settings: ExecutorSettings, seed: int, joints: tuple[int, ...], offset: float
) -> None:
    """From any pose, in any order of names, with or without an approach."""
    random = np.random.default_rng(seed)
    start = arm.home + random.uniform(-0.01, 0.01, 7) * (np.arange(7) != 6)
    start[6] = random.uniform(0.0, 0.06)
    points = smooth_points(arm, seed, count=24, reach=0.3)
    points[:, 0] += offset
    clock = ManualClock(10**9)
    follower = FollowerArm(arm, clock, np.clip(start, arm.lower, arm.upper))
    here = follower.positions.copy()
    asked = part(arm, points, tuple(random.permutation(joints)))
    report = execute_in_process(follower, asked, arm, clock, settings)
    assert report.status is Status.DONE, report.error
    times_s, sent = follower.sent
    assert_within_limits(arm, times_s, sent)
    assert (sent[:, others(joints)] == here[others(joints)]).all()
    assert np.array_equal(sent[-1, joints], points[-1, joints])


@few
@given(seed=seeds, joints=groups, stop_at=st.integers(20, 350))
def test_they_stay_through_stalls_and_a_stop(
    arm: ArmModel, settings: ExecutorSettings, seed: int, joints: tuple[int, ...], stop_at: int
) -> None:
    random = np.random.default_rng(seed)
    clock = ManualClock(10**9)
    follower = FollowerArm(arm, clock, arm.home)
    stream = ExecutionStream(arm, settings, clock)
    stream.start(part(arm, smooth_points(arm, seed, count=24, reach=0.3), joints), follower.state())
    while not stream.status.final:
        tick = stream.tick(follower.state())
        assert tick.command is not None
        follower.send(tick.command)
        clock.advance(float(random.uniform(0.06, 0.9)) if random.random() < 0.02 else 0.005)
        if len(follower.commands) == stop_at:
            stream.cancel()
    times_s, sent = follower.sent
    assert_within_limits_between_stalls(arm, times_s, sent, settings.stall_after_s)
    assert (sent[:, others(joints)] == arm.home[others(joints)]).all()


@few
@given(seed=seeds, joints=groups, when=st.floats(0.05, 2.2), offset=st.sampled_from([0.0, 0.2]))
def test_a_partial_goal_takes_over_a_whole_one(
    arm: ArmModel, settings: ExecutorSettings, seed: int, joints: tuple[int, ...], when: float,
    offset: float,
) -> None:  # fmt: skip
    """Joints that it does not name come to rest with the splice, or rest already, and stay there
    to the bit."""
    clock = ManualClock(10**9)
    follower = FollowerArm(arm, clock, arm.home)
    stream = ExecutionStream(arm, settings, clock)

    def tick(count: int) -> None:
        for _ in range(count):
            if stream.status.final:
                return
            command = stream.tick(follower.state()).command
            assert command is not None
            follower.send(command)
            clock.advance(settings.period_s)

    first, second = (smooth_points(arm, seed + i, count=40, reach=0.4) for i in (0, 1))
    resting = seed % 2 == 0
    if resting:
        first[:, others(joints)] = arm.home[others(joints)]
    stream.start(trajectory_of(arm, first), follower.state())
    tick(round(when / settings.period_s))
    second = second - second[0] + follower.sent[1][-1] + offset * np.eye(7)[0]
    second = np.clip(second, arm.lower, arm.upper)
    taken_s, here = clock.monotonic_ns() / 1e9, follower.sent[1][-1]
    plan = stream.start(part(arm, second, joints), follower.state())
    tick(10**5)
    assert stream.status is Status.DONE, stream.report().error
    times_s, sent = follower.sent
    assert_within_limits(arm, times_s, sent)
    assert np.array_equal(sent[-1, joints], second[-1, joints])
    led_in = times_s >= taken_s + plan.lead_in_s
    assert led_in.sum() > 20
    still = sent[led_in][:, others(joints)]
    assert (still == still[0]).all()
    assert not resting or (sent[:, others(joints)] == arm.home[others(joints)]).all()
    # Nearer than a way that needs no more than half of the acceleration and a tenth of a second.
    speed = np.abs(plan.start.velocities[others(joints)])
    way = speed**2 / arm.max_acceleration[others(joints)] + 0.1 * speed + 0.01
    assert (np.abs(still[0] - here[others(joints)]) <= way).all()


def test_a_gripper_that_holds_something_goes_on_holding_it(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """Told to close on 3 cm, and then the arm alone is moved: the set-point stays closed."""
    clock = ManualClock(10**9)
    opened = arm.home.copy()
    opened[6] = 0.06
    follower = FollowerArm(arm, clock, opened)
    stream = ExecutionStream(arm, settings, clock)
    closing = np.linspace(0.055, 0.0, 30)[:, None] * np.eye(7)[6] + arm.home * (np.arange(7) != 6)

    def measured() -> JointState:
        state = follower.state()
        assert state is not None
        blocked = np.maximum(state.positions, 0.03 * np.eye(7)[6] - 10.0 * (np.arange(7) != 6))
        return replace(state, positions=blocked)

    for asked in (part(arm, closing, GRIPPER), part(arm, smooth_points(arm, 1, 20, 0.2), ARM)):
        stream.start(asked, measured())
        while not stream.status.final:
            command = stream.tick(measured()).command
            assert command is not None
            follower.send(command)
            clock.advance(settings.period_s)
        assert stream.status is Status.DONE, stream.report().error
    moved = stream.report()
    assert measured().positions[6] == 0.03
    assert (moved.sent[:, 6] == 0.0).all()
    assert_within_limits(arm, *follower.sent)


def message(
    asked: ActionTrajectory, settings: ExecutorSettings, arm: ArmModel, *tolerances: str
) -> ActionTrajectory:
    """What is left of a goal message with these tolerances."""
    goal = FollowJointTrajectory.Goal(
        trajectory=trajectory_to_msg(asked),
        path_tolerance=[JointTolerance(name=name, position=0.1) for name in tolerances],
    )
    state = JointState(arm.joint_names, arm.home, np.zeros(7), 1)
    return goal_from_data(take_message(goal, settings), state, 1, arm, settings).trajectory


def test_a_tolerance_of_a_joint_that_is_not_moved_is_refused(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    points = smooth_points(arm, 1, count=20, reach=0.2)
    message(part(arm, points, ARM), settings, arm, "joint1", "joint6")
    message(part(arm, points, GRIPPER), settings, arm, "gripper")
    with pytest.raises(TrajectoryError, match=r"\[50\.4\] a tolerance names 'gripper'"):
        message(part(arm, points, ARM), settings, arm, "joint1", "gripper")
    with pytest.raises(TrajectoryError, match=r"\[50\.4\] a tolerance names 'joint1'"):
        message(part(arm, points, GRIPPER), settings, arm, "joint1")


def test_a_start_point_of_the_named_joints_is_left_out_and_judged_by_them(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """As MoveIt's plans of the group `arm` begin."""
    points = np.vstack([arm.home, arm.home + 0.1 * np.eye(7)[0]])
    asked = replace(part(arm, points, ARM), times_s=np.array([0.0, 2.0]))
    assert message(asked, settings, arm).times_s.tolist() == [2.0]
    points[0, 2] += 0.1
    far = replace(part(arm, points, ARM), times_s=np.array([0.0, 2.0]))
    with pytest.raises(TrajectoryError, match=r"\[50\.9\] the first point, at time 0.*joint3"):
        message(far, settings, arm)
