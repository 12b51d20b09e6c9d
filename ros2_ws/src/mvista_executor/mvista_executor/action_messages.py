"""Goals, feedback and results of `follow_joint_trajectory` and of `execute_plan`, to and from what
the stream speaks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from control_msgs.action import FollowJointTrajectory
from mvista_interfaces.action import ExecutePlan
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mvista_core.arm import ArmModel
from mvista_core.errors import MvistaError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import ActionTrajectory, Float64, JointState, Provenance
from mvista_core.timing import ns_to_seconds
from mvista_executor.check import check_size
from mvista_executor.goal import (
    JointTolerance,
    check_age,
    check_ends_at_rest,
    from_now_on,
    result_of,
    tolerances_of,
    without_start_point,
)
from mvista_executor.plan import ExecutionPlan
from mvista_executor.report import Recording, Tick, Tolerances
from mvista_ros.convert import (
    joint_command_to_msg,
    outcome_from_error,
    outcome_ok,
    stamp_to_ns,
    trajectory_from_msg,
)
from mvista_ros.convert.joints import doubles

_UNKNOWN = Provenance("", "", 0)
MOST_NAMES = 100
"""Joints that a goal may name, known or not."""
MOST_LETTERS = 200
"""Of a plan's id, which every report repeats."""

Asked: TypeAlias = FollowJointTrajectory.Goal | ExecutePlan.Goal
Answer: TypeAlias = FollowJointTrajectory.Result | ExecutePlan.Result
Progress: TypeAlias = FollowJointTrajectory.Feedback | ExecutePlan.Feedback


class GoalData(NamedTuple):
    """A goal's message as plain data; stamps are wall time, 0 where not given."""

    trajectory: ActionTrajectory
    path: list[JointTolerance]
    end: list[JointTolerance]
    goal_time_s: float
    start_ns: int
    made_ns: int = 0
    plan_id: str = ""
    of_plan: bool = False


class Goal(NamedTuple):
    """What a goal asks for; `delay_s` until it starts."""

    trajectory: ActionTrajectory
    tolerances: Tolerances
    delay_s: float


def take_message(goal: Asked, settings: ExecutorSettings) -> GoalData:
    """The data of a goal. Its message is emptied: point by point, as all that is done here, so
    that a large one keeps no other thread from the interpreter.

    Raises:
        TrajectoryError: too large, misshapen, or something asked for that is not done here.
    """
    points = goal.trajectory.points
    try:
        last_s = ns_to_seconds(stamp_to_ns(points[-1].time_from_start)) if points else 0.0
        # Of the last point alone: what is too large is refused before the rest is looked at.
        check_size(len(points), last_s, settings)
        _check_trajectory(goal.trajectory)
        return _of_plan(goal) if isinstance(goal, ExecutePlan.Goal) else _of_follow(goal)
    finally:
        while points:
            points.pop()


def _of_plan(goal: ExecutePlan.Goal) -> GoalData:
    if len(goal.plan_id) > MOST_LETTERS:
        raise TrajectoryError(
            TrajectoryError.TOO_LARGE,
            f"plan_id has {len(goal.plan_id)} characters, at most {MOST_LETTERS} allowed",
        )
    made = Provenance(goal.plan_id, "", 0)
    return GoalData(
        *(trajectory_from_msg(goal.trajectory, made), [], [], 0.0),
        start_ns=stamp_to_ns(goal.trajectory.header.stamp),
        made_ns=stamp_to_ns(goal.observed),
        plan_id=goal.plan_id,
        of_plan=True,
    )


def _of_follow(goal: FollowJointTrajectory.Goal) -> GoalData:
    _check_supported(goal)
    path, end = (
        [JointTolerance(t.name, t.position, t.velocity, t.acceleration) for t in listed]
        for listed in (goal.path_tolerance, goal.goal_tolerance)
    )
    return GoalData(
        trajectory_from_msg(goal.trajectory, _UNKNOWN),
        path,
        end,
        ns_to_seconds(stamp_to_ns(goal.goal_time_tolerance)),
        stamp_to_ns(goal.trajectory.header.stamp),
    )


def goal_from_data(
    goal: GoalData,
    measured: JointState | None,
    now_ns: int,
    arm: ArmModel,
    settings: ExecutorSettings,
) -> Goal:
    """The points, the tolerances and the start of a goal; `now_ns` is wall time.

    Raises:
        TrajectoryError: too old, joints that are none, or a tolerance that is not done here.
    """
    check_age(goal.made_ns, now_ns, settings)
    left, delay_s = from_now_on(goal.trajectory, goal.start_ns, now_ns, settings)
    asked_s = float(left.times_s[-1])
    names = left.joint_names
    tolerances = tolerances_of(goal.path, goal.end, goal.goal_time_s, asked_s, names, arm, settings)
    if goal.of_plan:
        tolerances = tolerances.of_plan(arm, settings)
    return Goal(without_start_point(left, measured, arm, settings), tolerances, delay_s)


def _check_trajectory(trajectory: JointTrajectory) -> None:
    """Refuse what would otherwise be passed over in silence."""
    _check_names(trajectory.joint_names)
    if trajectory.points:
        check_ends_at_rest(trajectory.points[-1].velocities)
    _check_absent([p for p in trajectory.points if p.effort], "efforts")


def _check_supported(goal: FollowJointTrajectory.Goal) -> None:
    for named in (goal.path_tolerance, goal.goal_tolerance):
        _check_names(named)
    for asked, what in (
        (goal.multi_dof_trajectory.points, "a multi-DOF trajectory"),
        (goal.component_path_tolerance, "component path tolerances"),
        (goal.component_goal_tolerance, "component goal tolerances"),
    ):
        _check_absent(asked, what)


def _check_names(named: Sequence[object]) -> None:
    """No list beyond all reason."""
    if len(named) > MOST_NAMES:
        raise TrajectoryError(
            TrajectoryError.TOO_LARGE,
            f"the goal has a list of {len(named)} joints, at most {MOST_NAMES} allowed",
        )


def _check_absent(asked: Sequence[object], what: str) -> None:
    if asked:
        raise TrajectoryError(
            TrajectoryError.UNSUPPORTED,
            f"the goal has {what}, {len(asked)} of them; this arm takes joint positions with "
            "times, joint tolerances and a goal time (mvista_executor/README.md)",
        )


def progress_to_msg(
    goal: Asked, tick: Tick, asked_s: Sequence[float] | Float64, recording: Recording
) -> Progress:
    """What the client of this goal is told of one tick."""
    if isinstance(goal, ExecutePlan.Goal):
        return ExecutePlan.Feedback(progress=tick.progress)
    return feedback_to_msg(tick, asked_s, recording)


def feedback_to_msg(
    tick: Tick, asked_s: Sequence[float] | Float64, recording: Recording
) -> FollowJointTrajectory.Feedback:
    """Desired, actual and error (actual - desired) of one tick, and which point is approached, of
    those asked for at `asked_s`.

    `index` and `multi_dof_index` came with control_msgs 6.3.0: an apt Jazzy has neither.
    """
    feedback = FollowJointTrajectory.Feedback()
    if hasattr(feedback, "index"):
        feedback.index = point_index(asked_s, tick.progress, recording.plan)
        feedback.multi_dof_index = 0  # such a trajectory is refused
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


def point_index(times_s: Sequence[float] | Float64, progress: float, plan: ExecutionPlan) -> int:
    """Index of the point that is approached: the first whose time is still to come, or the last.

    `times_s` as they were asked; `progress` is the fraction of the plan's whole duration.
    """
    if not len(times_s) or plan.follow is None:
        return 0
    curve, law = plan.follow.curve, plan.follow.law
    place_s = law.at_one(progress * plan.duration_s - plan.lead_in_s)[0]
    # Curve and points end together; they may begin apart (a lead, a start point that is left out).
    now_s = times_s[-1] - (float(curve.x[-1]) - place_s)
    return min(bisect_right(times_s, now_s), len(times_s) - 1)


def result_to_msg(goal: Asked, error: MvistaError | None) -> Answer:
    """The error's own number and words; control_msgs' code where its client reads that."""
    if isinstance(goal, ExecutePlan.Goal):
        outcome = outcome_ok() if error is None else outcome_from_error(error)
        return ExecutePlan.Result(outcome=outcome)
    code, text = result_of(error)
    return FollowJointTrajectory.Result(error_code=code, error_string=text)
