"""Stage 2 and 5b: the moves between curves, by Ruckig: approach, splice, stop. Jerk-limited, exact.

Ruckig (Berscheid and Kroeger, 2021) gives the time-optimal move between two states under velocity,
acceleration and jerk limits, every piece a cubic in time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from ruckig import ControlInterface, InputParameter, Result, Ruckig, Synchronization, Trajectory

from mvista_core.arm import ArmModel
from mvista_core.executor_settings import ExecutorSettings, per_joint
from mvista_core.records import Float64
from mvista_executor.motion import MotionState, Why

STOP_SHARE = 0.99
"""Part of the limits that a stop uses: what is sent is judged against the whole."""
_INSIDE = 1e-7


@dataclass(frozen=True)
class Asked:
    """What Ruckig is asked, in plain numbers; `by_velocity` are the joints [J] that only stop.

    `seconds`, where given, is the least duration.
    """

    start: MotionState
    target: MotionState
    velocity: Float64
    acceleration: Float64
    jerk: Float64
    synchronization: str = "Time"
    by_velocity: tuple[bool, ...] = ()
    seconds: float | None = None

    def solved(self) -> Any:
        """Ruckig's trajectory.

        Raises:
            ArithmeticError: there is none.
        """
        joints = len(self.velocity)
        parameters = InputParameter(joints)
        parameters.current_position = list(self.start.positions)
        parameters.current_velocity = list(self.start.velocities)
        parameters.current_acceleration = list(self.start.accelerations)
        parameters.target_position = list(self.target.positions)
        parameters.target_velocity = list(self.target.velocities)
        parameters.target_acceleration = list(self.target.accelerations)
        parameters.max_velocity = list(self.velocity)
        parameters.max_acceleration = list(self.acceleration)
        parameters.max_jerk = list(self.jerk)
        parameters.synchronization = getattr(Synchronization, self.synchronization)
        if self.by_velocity:
            parameters.per_dof_control_interface = [
                ControlInterface.Velocity if only_stops else ControlInterface.Position
                for only_stops in self.by_velocity
            ]
        if self.seconds is not None:
            parameters.minimum_duration = self.seconds
        trajectory = Trajectory(joints)
        result = Ruckig(joints).calculate(parameters, trajectory)
        # `calculate` answers Working when it found a trajectory.
        if result not in (Result.Working, Result.Finished):
            raise ArithmeticError(f"no move from {parameters}: {result}")
        return trajectory


@dataclass(frozen=True)
class Move:
    """One move of all joints; at rest at its end unless it leads on to a curve.

    Pickled without Ruckig's trajectory, which is solved again from what was asked.
    """

    why: Why
    asked: Asked
    end: MotionState
    lower: Float64
    upper: Float64

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "trajectory"}

    @cached_property
    def trajectory(self) -> Any:
        """Ruckig's."""
        return self.asked.solved()

    @property
    def duration_s(self) -> float:
        """Seconds from its start state to its end state."""
        return float(self.trajectory.duration)

    def at(self, time_s: float) -> MotionState:
        """State [J] at `time_s` after its start; the end state from `duration_s` on."""
        if time_s >= self.duration_s:
            return self.end
        position, velocity, acceleration = self.trajectory.at_time(max(time_s, 0.0))
        # Takes off rounding only: `leaves` has refused anything beyond it.
        inside = np.minimum(np.maximum(np.array(position), self.lower), self.upper)
        return MotionState(inside, np.array(velocity), np.array(acceleration))

    def leaves(self) -> np.ndarray:
        """Which joints [J] pass a limit on the way, by more than rounding: -1 the lower, 1 the
        upper, 0 none."""
        extremes = self.trajectory.position_extrema
        low = np.array([extreme.min for extreme in extremes])
        high = np.array([extreme.max for extreme in extremes])
        passed = np.where(low < self.lower - _INSIDE, -1, 0)
        return np.asarray(np.where(high > self.upper + _INSIDE, 1, passed))


def stop(state: MotionState, arm: ArmModel, share: float = STOP_SHARE) -> Move:
    """Every joint to rest on its own, as fast as its limits allow, inside its position limits.

    Uses `share` of the acceleration and jerk limits.

    A joint that would come to rest outside is braked harder: at its acceleration limit through
    standstill, and back a little. No motion stops on a shorter way, so one that itself stays
    within the limits always leaves room for it.
    """
    # Each joint by velocity and unsynchronised: to rest as soon as it can, wherever that is.
    asked = Asked(
        state,
        MotionState.rest(state.positions),
        arm.max_velocity,
        share * arm.max_acceleration,
        share * arm.max_jerk,
        "No",
        (True,) * len(arm.joint_names),
    )
    move = _solved(Why.STOP, asked, arm)
    # By the limit that it passes, not by its velocity: one that turns moves away from it still.
    passed = move.leaves()
    out = passed != 0
    if not out.any():
        return move
    # Past standstill at acceleration A a joint comes to rest 0.69 A^3/J^2 farther back at best.
    back = arm.max_acceleration**3 / arm.max_jerk**2
    inside = np.where(passed > 0, arm.upper - back, arm.lower + back)
    target = MotionState.rest(np.where(out, inside, state.positions))
    braked = replace(asked, target=target, by_velocity=tuple(bool(stops) for stops in ~out))
    return _solved(Why.STOP, braked, arm)


def approach(
    start: Float64, target: Float64, seconds: float, arm: ArmModel, settings: ExecutorSettings
) -> Move:
    """The slow move from rest to rest: approach speed, `limit_fraction` of the other limits.

    In `seconds`, or in the least time beyond that.
    """
    slow = per_joint(arm, settings.approach_speed_rad_s, settings.approach_speed_m_s)
    share = settings.limit_fraction
    asked = Asked(
        MotionState.rest(start),
        MotionState.rest(target),
        np.minimum(slow, share * arm.max_velocity),
        share * arm.max_acceleration,
        share * arm.max_jerk,
        "Phase",  # a straight line between the two poses
        seconds=max(seconds, 0.0),
    )
    return _solved(Why.APPROACH, asked, arm, MotionState.rest(target))


def splice(
    start: MotionState,
    target: MotionState,
    seconds: float,
    arm: ArmModel,
    settings: ExecutorSettings,
) -> Move | None:
    """From one moving state to another in `seconds`, or in the least time beyond that.

    None where there is no such move inside the position limits.
    """
    share = settings.limit_fraction
    asked = Asked(
        start,
        target,
        # Ruckig refuses a target beyond its limits; a curve that was slowed lies right at them.
        np.maximum(share * arm.max_velocity, np.abs(target.velocities) * (1 + 1e-9)),
        np.maximum(share * arm.max_acceleration, np.abs(target.accelerations) * (1 + 1e-9)),
        share * arm.max_jerk,
        seconds=seconds,
    )
    try:
        move = _solved(Why.SPLICE, asked, arm, target)
    except ArithmeticError:
        return None
    return None if move.leaves().any() else move


def needs_approach(
    start: Float64, first: Float64, arm: ArmModel, settings: ExecutorSettings
) -> bool:
    """Whether the first point is farther from the start [J] than the thresholds."""
    near = per_joint(arm, settings.approach_above_rad, settings.approach_above_m)
    return bool((np.abs(first - start) > near).any())


def _solved(why: Why, asked: Asked, arm: ArmModel, end: MotionState | None = None) -> Move:
    """The move; ends at rest where it arrives when no `end` is given."""
    if end is None:
        trajectory = asked.solved()
        position, _, _ = trajectory.at_time(trajectory.duration)
        end = MotionState.rest(np.clip(np.array(position), arm.lower, arm.upper))
    move = Move(why, asked, end, arm.lower, arm.upper)
    _ = move.trajectory  # solved here, so that what has no solution ends here
    return move
