"""A goal message, read as ros2_control's controller reads it; results with their codes."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointComponentTolerance, JointTolerance
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from mvista_interfaces.action import ExecutePlan
from trajectory_msgs.msg import JointTrajectoryPoint, MultiDOFJointTrajectoryPoint

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    CancelledError,
    ExecutionError,
    GoalToleranceError,
    MvistaError,
    PathToleranceError,
    PreemptedError,
    TrajectoryError,
    WorkspaceError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointState
from mvista_core.timing import ManualClock, seconds_to_ns
from mvista_executor.action_messages import Goal, goal_from_data, result_to_msg, take_message
from mvista_executor.goal import from_now_on
from mvista_executor.report import Tolerances
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import make_successor
from mvista_ros.convert import ns_to_duration, trajectory_to_msg
from tests.executor.rig import FollowerArm, smooth_points, trajectory_of

NOW_NS = 1_700_000_000 * 10**9
Result = FollowJointTrajectory.Result


def message(arm: ArmModel, stamp_ns: int = 0) -> FollowJointTrajectory.Goal:
    trajectory = trajectory_of(arm, smooth_points(arm, 1, count=30, reach=0.3))
    return FollowJointTrajectory.Goal(trajectory=trajectory_to_msg(trajectory, stamp_ns))


def read(goal: FollowJointTrajectory.Goal, arm: ArmModel, settings: ExecutorSettings) -> Goal:
    state = JointState(arm.joint_names, arm.home, np.zeros(7), NOW_NS)
    return goal_from_data(take_message(deepcopy(goal), settings), state, NOW_NS, arm, settings)


def test_tolerances_are_per_joint_over_the_defaults(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """0 is the default, a negative number is not checked."""
    goal = message(arm)
    goal.path_tolerance = [
        JointTolerance(name="joint2", position=0.07, velocity=0.5),
        JointTolerance(name="joint3", position=-1.0),
        JointTolerance(name="gripper", position=0.01),
    ]
    goal.goal_tolerance = [JointTolerance(name="joint1", position=0.002, velocity=-1.0)]
    default, found = Tolerances.default(arm, settings), read(goal, arm, settings).tolerances
    path, end, speed = default.path.copy(), default.goal.copy(), default.goal_velocity.copy()
    path[[1, 2, 6]] = 0.07, np.inf, 0.01
    end[0], speed[0] = 0.002, np.inf
    assert np.array_equal(found.path, path) and np.array_equal(found.goal, end)
    assert np.array_equal(found.goal_velocity, speed)
    assert found.path_velocity[1] == 0.5 and np.isinf(found.path_velocity[[0, 2, 3]]).all()
    assert (found.goal_time_s, found.end_by_s) == (settings.goal_time_s, None)


def test_a_plans_end_is_taken_late_and_wider_and_no_other_goals(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    state = JointState(arm.joint_names, arm.home, np.zeros(7), NOW_NS)
    plan = take_message(ExecutePlan.Goal(trajectory=message(arm).trajectory), settings)
    found = goal_from_data(plan, state, NOW_NS, arm, settings).tolerances
    assert found.late_goal is not None and found.late_goal[0] == settings.plan_goal_tolerance_rad
    assert np.array_equal(found.goal, Tolerances.default(arm, settings).goal)
    assert read(message(arm), arm, settings).tolerances.late_goal is None


def test_a_goal_time_counts_from_the_asked_end_and_must_be_possible(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    goal = message(arm)
    goal.goal_time_tolerance = ns_to_duration(seconds_to_ns(0.5))
    asked = read(goal, arm, settings)
    assert asked.tolerances.end_by_s == pytest.approx(2.5)
    slow = trajectory_of(arm, asked.trajectory.positions, asked.trajectory.times_s / 2.4)
    tight = read(goal, arm, settings).tolerances
    tight = Tolerances(**{**tight.__dict__, "end_by_s": float(slow.times_s[-1]) + 0.05})
    clock = ManualClock(10**9)
    follower = FollowerArm(arm, clock, arm.home)
    standing = ExecutionStream(arm, settings, clock).standing(follower.state())
    with pytest.raises(TrajectoryError, match=r"\[50\.16\] it would end after"):
        make_successor(slow, standing, arm, settings, tight)


@run(max_examples=25, deadline=None, derandomize=True)
@given(ago_s=st.floats(-9.9, 5.0))
def test_a_stamp_is_when_it_starts_and_what_was_due_is_dropped(
    arm: ArmModel, settings: ExecutorSettings, ago_s: float
) -> None:
    whole = trajectory_of(arm, smooth_points(arm, 1, count=30, reach=0.3))
    start_ns = NOW_NS - seconds_to_ns(ago_s)
    if ago_s >= whole.times_s[-1]:
        with pytest.raises(TrajectoryError, match=r"\[50\.14\]"):
            from_now_on(whole, start_ns, NOW_NS, settings)
        return
    left, delay_s = from_now_on(whole, start_ns, NOW_NS, settings)
    assert delay_s == pytest.approx(max(-ago_s, 0.0), abs=1e-6)
    kept = len(left.times_s)
    assert np.array_equal(left.positions, whole.positions[-kept:])
    assert np.allclose(left.times_s, whole.times_s[-kept:] - max(ago_s, 0.0), atol=1e-6)
    assert left.times_s[0] > 0.0


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        ("old", TrajectoryError.TOO_OLD, Result.OLD_HEADER_TIMESTAMP),
        ("far ahead", TrajectoryError.UNSUPPORTED, Result.INVALID_GOAL),
        ("multi-DOF", TrajectoryError.UNSUPPORTED, Result.INVALID_GOAL),
        ("component", TrajectoryError.UNSUPPORTED, Result.INVALID_GOAL),
        ("effort", TrajectoryError.UNSUPPORTED, Result.INVALID_GOAL),
        ("end velocity", TrajectoryError.UNSUPPORTED, Result.INVALID_GOAL),
        ("acceleration", TrajectoryError.UNSUPPORTED, Result.INVALID_GOAL),
        ("stranger", TrajectoryError.UNKNOWN_JOINT, Result.INVALID_JOINTS),
        ("nan tolerance", TrajectoryError.NOT_FINITE, Result.INVALID_GOAL),
    ],
)
def test_what_is_not_done_here_is_refused_and_not_passed_over(
    arm: ArmModel, settings: ExecutorSettings, change: str, reason: int, code: int
) -> None:
    goal = message(arm)
    if change == "old":
        goal = message(arm, NOW_NS - 60 * 10**9)
    elif change == "far ahead":
        goal = message(arm, NOW_NS + 60 * 10**9)
    elif change == "multi-DOF":
        goal.multi_dof_trajectory.points = [MultiDOFJointTrajectoryPoint()]
    elif change == "component":
        goal.component_path_tolerance = [JointComponentTolerance()]
    elif change == "effort":
        goal.trajectory.points[3].effort = [0.0] * 7
    elif change == "end velocity":
        goal.trajectory.points[-1].velocities = [0.0] * 6 + [0.01]
    elif change == "acceleration":
        goal.path_tolerance = [JointTolerance(name="joint1", acceleration=1.0)]
    elif change == "stranger":
        goal.goal_tolerance = [JointTolerance(name="elbow", position=1.0)]
    elif change == "nan tolerance":
        goal.goal_tolerance = [JointTolerance(name="joint1", position=float("nan"))]
    with pytest.raises(TrajectoryError, match=rf"\[50\.{reason}\]") as caught:
        read(goal, arm, settings)
    result = result_to_msg(goal, caught.value)
    assert result.error_code == code and result.error_string.startswith(f"[50.{reason}]")


@pytest.mark.parametrize(
    ("error", "code", "number"),
    [
        (None, Result.SUCCESSFUL, ""),
        (PathToleranceError("x"), Result.PATH_TOLERANCE_VIOLATED, "[71]"),
        (WorkspaceError("x"), Result.PATH_TOLERANCE_VIOLATED, "[73]"),
        (ExecutionError("x"), Result.PATH_TOLERANCE_VIOLATED, "[70]"),
        (GoalToleranceError("x"), Result.GOAL_TOLERANCE_VIOLATED, "[72]"),
        (CancelledError("x"), Result.INVALID_GOAL, "[61]"),
        (PreemptedError("x"), Result.INVALID_GOAL, "[64]"),
    ],
)
def test_results_carry_the_standard_code_and_our_number(
    error: MvistaError | None, code: int, number: str
) -> None:
    result = result_to_msg(FollowJointTrajectory.Goal(), error)
    assert result.error_code == code and result.error_string.startswith(number)
    outcome = result_to_msg(ExecutePlan.Goal(), error).outcome
    assert outcome.code == (0 if error is None else error.code)


@pytest.mark.parametrize(
    ("velocity", "refused"),
    [
        (0.0, False),
        (1e-12, False),
        (-1.1e-7, False),
        (1.3e-7, True),
        (np.nan, True),
        (np.inf, True),
    ],
)
def test_a_last_velocity_below_rounding_is_zero(
    arm: ArmModel, settings: ExecutorSettings, velocity: float, refused: bool
) -> None:
    """One rule, as in ros2_control's controller: the precision of a float32."""
    goal = message(arm)
    goal.trajectory.points[-1].velocities = [0.0] * 6 + [velocity]
    if not refused:
        read(goal, arm, settings)
        return
    with pytest.raises(TrajectoryError, match=r"\[50\.15\] the last point has a velocity"):
        read(goal, arm, settings)


def test_a_first_point_at_time_0_that_is_far_away_is_told_as_such(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    points = np.vstack([arm.home, arm.home]) + 0.1 * np.eye(7)[2]
    far = trajectory_to_msg(trajectory_of(arm, points, np.array([0.0, 2.0])))
    with pytest.raises(TrajectoryError, match=r"\[50\.9\] the first point, at time 0.*joint3"):
        read(FollowJointTrajectory.Goal(trajectory=far), arm, settings)
    points[0] = arm.home
    near = trajectory_to_msg(trajectory_of(arm, points, np.array([0.0, 2.0])))
    goal = read(FollowJointTrajectory.Goal(trajectory=near), arm, settings)
    assert len(goal.trajectory.times_s) == 1 and goal.trajectory.times_s[0] == 2.0


@pytest.mark.parametrize("what", ["points", "time", "joints", "path", "end"])
def test_what_is_beyond_all_size_is_refused_before_it_is_looked_at(
    arm: ArmModel, settings: ExecutorSettings, what: str
) -> None:
    goal = message(arm)
    if what == "points":
        # Points of the wrong shape: nobody may have looked at them.
        goal.trajectory.points = [JointTrajectoryPoint()] * (settings.max_points + 1)
    elif what == "time":
        goal.trajectory.points[-1].time_from_start.sec = 2**31 - 1
    elif what == "joints":
        goal.trajectory.joint_names = ["joint1"] * 1000
    elif what == "path":
        goal.path_tolerance = [JointTolerance(name="joint1")] * 1000
    else:
        goal.goal_tolerance = [JointTolerance(name="joint1")] * 1000
    with pytest.raises(TrajectoryError, match=r"\[50\.17\].*at most (5000|300|100)\b"):
        read(goal, arm, settings)
