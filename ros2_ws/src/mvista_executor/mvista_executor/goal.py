"""What a `FollowJointTrajectory` goal says beside its points, and what its result says, as data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    ExecutionError,
    GoalToleranceError,
    MvistaError,
    TrajectoryError,
)
from mvista_core.records import ActionTrajectory, Float64, JointState
from mvista_executor.approach import needs_approach
from mvista_executor.report import Tolerances
from mvista_executor.settings import ExecutorSettings

SUCCESSFUL = 0
INVALID_GOAL = -1
INVALID_JOINTS = -2
PATH_TOLERANCE_VIOLATED = -4
GOAL_TOLERANCE_VIOLATED = -5
_JOINT_REASONS = (
    TrajectoryError.UNKNOWN_JOINT,
    TrajectoryError.REPEATED_JOINT,
    TrajectoryError.MISSING_JOINT,
)


def result_of(error: MvistaError | None) -> tuple[int, str]:
    """`error_code` and `error_string` of the action's result (control_msgs' numbers).

    The string begins with the error's own number, `[50.7] ...` or `[32] ...`. What control_msgs
    has no number for (cancelled, stale feedback) counts as the path not having been followed.
    """
    if error is None:
        return SUCCESSFUL, ""
    if isinstance(error, TrajectoryError):
        wrong_joints = error.reason in _JOINT_REASONS
        return (INVALID_JOINTS if wrong_joints else INVALID_GOAL), str(error)
    text = f"[{error.code}] {error}"
    if isinstance(error, GoalToleranceError):
        return GOAL_TOLERANCE_VIOLATED, text
    if isinstance(error, ExecutionError):
        return PATH_TOLERANCE_VIOLATED, text
    return INVALID_GOAL, text


def tolerances_of(
    path: Sequence[tuple[str, float]],
    goal: Sequence[tuple[str, float]],
    goal_time_s: float,
    arm: ArmModel,
    settings: ExecutorSettings,
) -> Tolerances:
    """Per-joint (name, position) tolerances over the defaults: 0 = default, negative = no limit.

    Raises:
        TrajectoryError: a tolerance for a joint the arm lacks.
    """
    default = Tolerances.default(arm, settings)
    return Tolerances(
        _over(default.path, path, arm),
        _over(default.goal, goal, arm),
        _chosen(default.goal_time_s, goal_time_s),
    )


def without_start_point(
    trajectory: ActionTrajectory,
    measured: JointState | None,
    arm: ArmModel,
    settings: ExecutorSettings,
) -> ActionTrajectory:
    """Drop a first point at time 0 that only repeats where the arm is, as MoveIt's plans begin.

    Any other trajectory is returned as it is, for the check to judge.
    """
    times_s = trajectory.times_s
    if measured is None or len(times_s) < 2 or times_s[0] != 0.0:
        return trajectory
    if sorted(trajectory.joint_names) != sorted(arm.joint_names):
        return trajectory
    order = [trajectory.joint_names.index(name) for name in arm.joint_names]
    first = trajectory.positions[0][order]
    here = measured.ordered(arm.joint_names)
    if not np.isfinite(first).all() or needs_approach(here, first, arm, settings):
        return trajectory
    return ActionTrajectory(
        trajectory.joint_names, trajectory.positions[1:], times_s[1:], trajectory.provenance
    )


def _over(default: Float64, given: Sequence[tuple[str, float]], arm: ArmModel) -> Float64:
    values: Float64 = default.copy()
    for name, position in given:
        if name not in arm.joint_names:
            raise TrajectoryError(
                TrajectoryError.UNKNOWN_JOINT,
                f"a tolerance names '{name}'; {arm.name} has {list(arm.joint_names)}",
            )
        index = arm.joint_names.index(name)
        values[index] = _chosen(float(values[index]), position)
    return values


def _chosen(default: float, given: float) -> float:
    if given < 0.0:
        return float("inf")
    return given if given > 0.0 else default
