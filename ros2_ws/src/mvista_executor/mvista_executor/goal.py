"""What a `FollowJointTrajectory` goal says beside its points, and what its result says, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    ExecutionError,
    GoalToleranceError,
    MvistaError,
    TrajectoryError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import ActionTrajectory, Float64, JointState
from mvista_core.timing import ns_to_seconds
from mvista_executor.check import named_joints
from mvista_executor.moves import needs_approach
from mvista_executor.report import Tolerances

ZERO_VELOCITY = float(np.finfo(np.float32).eps)
"""Rad/s (m/s) that count as zero at a trajectory's end, as in ros2_control's controller."""
SUCCESSFUL = 0
INVALID_GOAL = -1
INVALID_JOINTS = -2
OLD_HEADER_TIMESTAMP = -3
PATH_TOLERANCE_VIOLATED = -4
GOAL_TOLERANCE_VIOLATED = -5
_TRAJECTORY_CODES = {
    TrajectoryError.UNKNOWN_JOINT: INVALID_JOINTS,
    TrajectoryError.REPEATED_JOINT: INVALID_JOINTS,
    TrajectoryError.MISSING_JOINT: INVALID_JOINTS,
    TrajectoryError.TOO_OLD: OLD_HEADER_TIMESTAMP,
}


@dataclass(frozen=True)
class JointTolerance:
    """What a goal says of one joint: 0 = the default, negative = not checked."""

    name: str
    position: float
    velocity: float
    acceleration: float


def result_of(error: MvistaError | None) -> tuple[int, str]:
    """`error_code` and `error_string` of the action's result (control_msgs' numbers).

    The string begins with the error's own number, `[50.7] ...` or `[32] ...`. What control_msgs
    has no number for (cancelled, stale feedback) counts as the path not having been followed.
    """
    if error is None:
        return SUCCESSFUL, ""
    if isinstance(error, TrajectoryError):
        return _TRAJECTORY_CODES.get(error.reason, INVALID_GOAL), str(error)
    text = f"[{error.code}] {error}"
    if isinstance(error, GoalToleranceError):
        return GOAL_TOLERANCE_VIOLATED, text
    if isinstance(error, ExecutionError):
        return PATH_TOLERANCE_VIOLATED, text
    return INVALID_GOAL, text


def tolerances_of(
    path: Sequence[JointTolerance],
    goal: Sequence[JointTolerance],
    goal_time_s: float,
    asked_s: float,
    names: tuple[str, ...],
    arm: ArmModel,
    settings: ExecutorSettings,
) -> Tolerances:
    """A goal's tolerances over the defaults, as ros2_control's controller reads them.

    `names` are the joints that the goal moves; the defaults hold for the others too.

    A positive `goal_time_s` is how late after `asked_s`, the trajectory's own duration, the arm
    may arrive; 0 is the default, negative waits for ever.

    Raises:
        TrajectoryError: a tolerance that is not finite, for a joint that the arm or the goal
            lacks, or on an acceleration (which no driver measures); or joints that are none.
    """
    named_joints(names, arm)
    default = Tolerances.default(arm, settings)
    for listed in (path, goal):
        for tolerance in listed:
            _check_tolerance(tolerance, names, arm)
    return Tolerances(
        _over(default.path, [(t.name, t.position) for t in path], arm),
        _over(default.goal, [(t.name, t.position) for t in goal], arm),
        _chosen(default.goal_time_s, goal_time_s),
        _over(default.path_velocity, [(t.name, t.velocity) for t in path], arm),
        _over(default.goal_velocity, [(t.name, t.velocity) for t in goal], arm),
        asked_s + goal_time_s if goal_time_s > 0.0 else None,
    )


def from_now_on(
    trajectory: ActionTrajectory, start_ns: int, now_ns: int, settings: ExecutorSettings
) -> tuple[ActionTrajectory, float]:
    """What is left of a trajectory that starts at a wall time, and the seconds until it starts.

    As ros2_control's controller: `start_ns` 0 is now; points that were due are dropped.

    Raises:
        TrajectoryError: `TOO_OLD`, all points were due; `UNSUPPORTED`, it starts too far ahead.
    """
    if start_ns == 0:
        return trajectory, 0.0
    ahead_s = ns_to_seconds(start_ns - now_ns)
    if ahead_s > settings.max_start_delay_s:
        raise TrajectoryError(
            TrajectoryError.UNSUPPORTED,
            f"header.stamp is {ahead_s:.1f} s ahead of this clock, at most "
            f"{settings.max_start_delay_s:g} s (max_start_delay_s); are the clocks synchronised?",
        )
    if ahead_s >= 0.0 or not len(trajectory.times_s):
        return trajectory, max(ahead_s, 0.0)
    due = trajectory.times_s + ahead_s
    left = due > 0.0
    if not left.any():
        raise TrajectoryError(
            TrajectoryError.TOO_OLD,
            f"header.stamp says it started {-ahead_s:.2f} s ago and its last point was due after "
            f"{trajectory.times_s[-1]:.2f} s; stamp 0 starts at once",
        )
    kept = replace(trajectory, positions=trajectory.positions[left], times_s=due[left])
    return kept, 0.0


def check_age(made_ns: int, now_ns: int, settings: ExecutorSettings) -> None:
    """Refuse a plan that was made at a wall time (0: unknown) too long ago.

    Raises:
        TrajectoryError: `TOO_OLD`.
    """
    age_s = ns_to_seconds(now_ns - made_ns)
    if made_ns and age_s < -settings.max_start_delay_s:
        raise TrajectoryError(
            TrajectoryError.TOO_OLD,
            f"the plan was made {-age_s:.1f} s ahead of this clock, at most "
            f"{settings.max_start_delay_s:g} s allowed: do the two machines' clocks agree?",
        )
    if made_ns and age_s > settings.max_plan_age_s:
        raise TrajectoryError(
            TrajectoryError.TOO_OLD,
            f"the plan was made {age_s:.1f} s ago, at most {settings.max_plan_age_s:g} s "
            "(max_plan_age_s) allowed; the scene may have changed: plan again",
        )


def without_start_point(
    trajectory: ActionTrajectory,
    measured: JointState | None,
    arm: ArmModel,
    settings: ExecutorSettings,
) -> ActionTrajectory:
    """Drop a first point at time 0 that only repeats where the arm is, as MoveIt's plans begin.

    Its joints are the arm's (`named_joints`). Any other trajectory is returned as it is, for the
    check to judge.

    Raises:
        TrajectoryError: `START_TOO_FAR`, the arm is not where such a first point says it is.
    """
    times_s = trajectory.times_s
    if measured is None or len(times_s) < 2 or times_s[0] != 0.0:
        return trajectory
    here = measured.ordered(arm.joint_names)
    first = here.copy()
    places = [arm.joint_names.index(name) for name in trajectory.joint_names]
    # Joints that the goal does not name are where they are: only those it names are judged.
    first[places] = trajectory.positions[0]
    if not np.isfinite(first).all():
        return trajectory
    if needs_approach(here, first, arm, settings):
        joint = int(np.argmax(np.abs(first - here)))
        raise TrajectoryError(
            TrajectoryError.START_TOO_FAR,
            f"the first point, at time 0, says that {arm.joint_names[joint]} is at "
            f"{first[joint]:.4f}, but it is measured at {here[joint]:.4f}: farther than "
            "approach_above; plan from where the arm is, or give the point a time to get there",
        )
    return ActionTrajectory(
        trajectory.joint_names, trajectory.positions[1:], times_s[1:], trajectory.provenance
    )


def check_ends_at_rest(last_velocities: Sequence[float]) -> None:
    """The last point's velocities, where given, must be zero: every trajectory ends at rest.

    Raises:
        TrajectoryError: `UNSUPPORTED`.
    """
    for index, velocity in enumerate(last_velocities):
        # Asked this way round, NaN is refused too.
        if not abs(velocity) <= ZERO_VELOCITY:
            raise TrajectoryError(
                TrajectoryError.UNSUPPORTED,
                f"the last point has a velocity of {velocity:g} (its number {index}); a trajectory "
                f"ends at rest, up to {ZERO_VELOCITY:.2g} counts as zero",
            )


def _check_tolerance(tolerance: JointTolerance, names: tuple[str, ...], arm: ArmModel) -> None:
    if tolerance.name not in arm.joint_names:
        raise TrajectoryError(
            TrajectoryError.UNKNOWN_JOINT,
            f"a tolerance names '{tolerance.name}'; {arm.name} has {list(arm.joint_names)}",
        )
    if tolerance.name not in names:
        raise TrajectoryError(
            TrajectoryError.MISSING_JOINT,
            f"a tolerance names '{tolerance.name}', which the goal does not move: it names "
            f"{list(names)}",
        )
    values = (tolerance.position, tolerance.velocity, tolerance.acceleration)
    if not np.isfinite(values).all():
        raise TrajectoryError(
            TrajectoryError.NOT_FINITE, f"a tolerance of {tolerance.name} is not finite: {values}"
        )
    if tolerance.acceleration > 0.0:
        raise TrajectoryError(
            TrajectoryError.UNSUPPORTED,
            f"{tolerance.name} has an acceleration tolerance of {tolerance.acceleration:g}; "
            "accelerations are not measured: give 0 or a negative number",
        )


def _over(default: Float64, given: Sequence[tuple[str, float]], arm: ArmModel) -> Float64:
    values: Float64 = default.copy()
    for name, tolerance in given:
        index = arm.joint_names.index(name)
        values[index] = _chosen(float(values[index]), tolerance)
    return values


def _chosen(default: float, given: float) -> float:
    if given < 0.0:
        return float("inf")
    return given if given > 0.0 else default
