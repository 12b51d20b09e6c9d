"""`FollowJointTrajectory` goals, feedback and results to and from what the stream speaks."""

from __future__ import annotations

from typing import NamedTuple

from control_msgs.action import FollowJointTrajectory
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mvista_core.arm import ArmModel
from mvista_core.errors import MvistaError
from mvista_core.records import ActionTrajectory, JointState, Provenance
from mvista_core.timing import ns_to_seconds
from mvista_executor.goal import result_of, tolerances_of, without_start_point
from mvista_executor.report import ExecutionReport, Tick, Tolerances
from mvista_executor.settings import ExecutorSettings
from mvista_ros.convert import (
    joint_command_to_msg,
    stamp_to_ns,
    trajectory_from_msg,
    trajectory_to_msg,
)
from mvista_ros.convert.joints import doubles

_UNKNOWN = Provenance("", "", 0)


class Goal(NamedTuple):
    """What a goal asks for."""

    trajectory: ActionTrajectory
    tolerances: Tolerances


def goal_from_msg(
    goal: FollowJointTrajectory.Goal,
    measured: JointState | None,
    arm: ArmModel,
    settings: ExecutorSettings,
) -> Goal:
    """The points and the tolerances of a goal.

    Raises:
        TrajectoryError: misshapen, or a tolerance for a joint the arm lacks.
    """
    path, end = (
        [(tolerance.name, tolerance.position) for tolerance in listed]
        for listed in (goal.path_tolerance, goal.goal_tolerance)
    )
    goal_time_s = ns_to_seconds(stamp_to_ns(goal.goal_time_tolerance))
    tolerances = tolerances_of(path, end, goal_time_s, arm, settings)
    trajectory = trajectory_from_msg(goal.trajectory, _UNKNOWN)
    return Goal(without_start_point(trajectory, measured, arm, settings), tolerances)


def feedback_to_msg(tick: Tick) -> FollowJointTrajectory.Feedback:
    """Desired, actual and error (actual - desired) of one tick."""
    feedback = FollowJointTrajectory.Feedback()
    if tick.command is None:
        return feedback
    command = joint_command_to_msg(tick.command)
    feedback.header, feedback.joint_names = command.header, command.name
    feedback.desired = JointTrajectoryPoint(positions=command.position, velocities=command.velocity)
    if tick.tracking_error is not None:
        actual = tick.command.positions + tick.tracking_error
        feedback.actual = JointTrajectoryPoint(positions=doubles(actual))
        feedback.error = JointTrajectoryPoint(positions=doubles(tick.tracking_error))
    return feedback


def result_to_msg(error: MvistaError | None) -> FollowJointTrajectory.Result:
    """control_msgs' code, and the error's own number and words."""
    code, text = result_of(error)
    return FollowJointTrajectory.Result(error_code=code, error_string=text)


def executed_to_msg(report: ExecutionReport) -> JointTrajectory:
    """Every set-point that was sent, stamped with the first one's time."""
    sent = ActionTrajectory(report.joint_names, report.sent, report.times_s, _UNKNOWN)
    return trajectory_to_msg(sent, report.commands[0].stamp_ns if report.commands else 0)
