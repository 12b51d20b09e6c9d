"""Stage 1: is this a trajectory for this arm, from where it stands? Refused whole or not at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvista_core.arm import ArmModel
from mvista_core.errors import ArmNotReadyError, TrajectoryError
from mvista_core.executor_settings import GRIPPER, ExecutorSettings, per_joint
from mvista_core.records import ActionTrajectory, Float64, JointState

ROUNDING = 1e-6
"""Rad or m by which a value may pass a limit through float32 rounding, and no more."""


def check_size(count: int, last_s: float, settings: ExecutorSettings) -> None:
    """A trajectory of `count` points, the last due at `last_s`, must be small enough to plan.

    Raises:
        TrajectoryError: `TOO_LARGE`, before anything heavy is done.
    """
    if count > settings.max_points:
        raise TrajectoryError(
            TrajectoryError.TOO_LARGE,
            f"the trajectory has {count} points, at most {settings.max_points} (max_points) "
            "allowed; send it in parts",
        )
    if last_s > settings.max_duration_s:
        raise TrajectoryError(
            TrajectoryError.TOO_LARGE,
            f"the last point is due after {last_s:.0f} s, at most {settings.max_duration_s:g} s "
            "(max_duration_s) allowed; send it in parts",
        )


def named_joints(names: tuple[str, ...], arm: ArmModel) -> NDArray[np.bool_]:
    """Which of the arm's joints [J] are named: all, all but the gripper, or the gripper alone.

    Raises:
        TrajectoryError: `UNKNOWN_JOINT`, `REPEATED_JOINT`, `MISSING_JOINT`.
    """
    known = list(arm.joint_names)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise TrajectoryError(
            TrajectoryError.UNKNOWN_JOINT, f"unknown joints {unknown}; {arm.name} has {known}"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise TrajectoryError(
            TrajectoryError.REPEATED_JOINT, f"joints {repeated} appear more than once"
        )
    missing = [name for name in known if name not in names]
    if missing not in ([], [GRIPPER]) and names != (GRIPPER,):
        raise TrajectoryError(
            TrajectoryError.MISSING_JOINT,
            f"joints {missing} are missing; give all of {known}, all without '{GRIPPER}', or "
            f"'{GRIPPER}' alone",
        )
    return np.array([name in names for name in known])


def ordered_points(
    trajectory: ActionTrajectory, arm: ArmModel, resting: Float64
) -> tuple[Float64, Float64]:
    """Positions [T, J] in the arm's joint order and times_s [T] of a sound trajectory.

    A joint that it does not name is at `resting` [J] in every point. Checks names, size,
    finiteness, times, position limits, and the mean velocity between points.

    Raises:
        TrajectoryError: numbered; nothing of the trajectory may be used.
    """
    named_joints(trajectory.joint_names, arm)
    positions = np.asarray(trajectory.positions, dtype=np.float64)
    times_s = np.asarray(trajectory.times_s, dtype=np.float64)
    if len(times_s) == 0:
        raise TrajectoryError(TrajectoryError.EMPTY, "the trajectory has no points")
    _check_finite(trajectory.joint_names, positions, times_s)
    _check_times(times_s)
    places = [arm.joint_names.index(name) for name in trajectory.joint_names]
    positions, given = np.tile(resting, (len(times_s), 1)), positions
    positions[:, places] = given
    _check_position_limits(positions, arm)
    _check_mean_velocity(positions, times_s, arm)
    return np.clip(positions, arm.lower, arm.upper), times_s


def start_pose(measured: JointState, arm: ArmModel, settings: ExecutorSettings) -> Float64:
    """The pose to start from, [J]: the measured one.

    A joint measured beyond its limit by less than `limit_slack` (sag, encoder offset) starts at
    the limit instead: nothing outside the limits is ever sent.

    Raises:
        ObservationError: a joint is not measured.
        ArmNotReadyError: the arm moves, stands outside its limits, or its feedback is not finite.
    """
    positions = measured.ordered(arm.joint_names)
    order = [measured.names.index(name) for name in arm.joint_names]
    velocities = measured.velocities[order]
    if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
        raise ArmNotReadyError("the measured joint state is not finite; see the arm's status")
    # The pose of an arm that moves is old by the time that a plan begins.
    rest = per_joint(arm, settings.rest_speed_rad_s, settings.rest_speed_m_s)
    _refuse_where(
        np.abs(velocities) > rest, arm, velocities, "moves at {:.3f}/s", "start from rest"
    )
    slack = per_joint(arm, settings.limit_slack_rad, settings.limit_slack_m)
    outside = (positions < arm.lower - slack) | (positions > arm.upper + slack)
    _refuse_where(outside, arm, positions, "stands at {:.4f}", "outside its limits: move it back")
    return np.clip(positions, arm.lower, arm.upper)


def check_start(points: Float64, start: Float64, arm: ArmModel, settings: ExecutorSettings) -> None:
    """The first point must be near the pose the arm stands in, [J].

    Raises:
        TrajectoryError: `START_TOO_FAR`.
    """
    allowed = per_joint(arm, settings.refuse_above_rad, settings.refuse_above_m)
    # ros2_control's joint_trajectory_controller looks neither at this, nor at limits, nor for NaN.
    distance = np.abs(points[0] - start)
    for index in np.flatnonzero(distance > allowed):
        raise TrajectoryError(
            TrajectoryError.START_TOO_FAR,
            f"{arm.joint_names[index]} starts at {points[0, index]:.4f}, measured "
            f"{start[index]:.4f}: {distance[index]:.4f} apart, at most {allowed[index]:.4f} "
            "allowed; was the plan made for this pose?",
        )


def _check_finite(names: tuple[str, ...], positions: Float64, times_s: Float64) -> None:
    bad = np.argwhere(~np.isfinite(positions))
    if len(bad):
        point, joint = bad[0]
        raise TrajectoryError(
            TrajectoryError.NOT_FINITE,
            f"point {point}, {names[joint]}: {positions[point, joint]} is not a position",
        )
    if not np.isfinite(times_s).all():
        raise TrajectoryError(TrajectoryError.NOT_FINITE, "a time is not finite")


def _check_times(times_s: Float64) -> None:
    # The start itself is the curve's point at time 0.
    if times_s[0] <= 0:
        raise TrajectoryError(
            TrajectoryError.TIMES_NOT_INCREASING,
            f"the first point is due at {times_s[0]:.4f} s; times count from the start and are > 0",
        )
    falling = np.flatnonzero(np.diff(times_s) <= 0)
    if len(falling):
        index = int(falling[0])
        raise TrajectoryError(
            TrajectoryError.TIMES_NOT_INCREASING,
            f"point {index + 1} at {times_s[index + 1]:.4f} s does not follow point {index} at "
            f"{times_s[index]:.4f} s; times must increase strictly",
        )


def _check_position_limits(positions: Float64, arm: ArmModel) -> None:
    bad = np.argwhere((positions < arm.lower - ROUNDING) | (positions > arm.upper + ROUNDING))
    if len(bad):
        point, joint = bad[0]
        raise TrajectoryError(
            TrajectoryError.POSITION_LIMIT,
            f"point {point}, {arm.joint_names[joint]}: {positions[point, joint]:.4f} is outside "
            f"[{arm.lower[joint]:.4f}, {arm.upper[joint]:.4f}] of the arm file",
        )


def _check_mean_velocity(positions: Float64, times_s: Float64, arm: ArmModel) -> None:
    # No curve through two points gets by with less than their mean velocity.
    velocity = np.abs(np.diff(positions, axis=0)) / np.diff(times_s)[:, None]
    bad = np.argwhere(velocity > arm.max_velocity * (1 + ROUNDING))
    if len(bad):
        point, joint = bad[0]
        raise TrajectoryError(
            TrajectoryError.VELOCITY_LIMIT,
            f"points {point} to {point + 1} ask {arm.joint_names[joint]} for "
            f"{velocity[point, joint]:.3f}/s, at most {arm.max_velocity[joint]:.3f}/s",
        )


def _refuse_where(bad: np.ndarray, arm: ArmModel, values: Float64, what: str, advice: str) -> None:
    for index in np.flatnonzero(bad):
        text = what.format(float(values[index]))
        raise ArmNotReadyError(
            f"{arm.joint_names[index]} {text} (limits {arm.lower[index]:.4f} to "
            f"{arm.upper[index]:.4f}); {advice}"
        )
