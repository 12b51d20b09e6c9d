"""A pose that runs after another within velocity, acceleration, jerk and position limits. Pure.

Ruckig (Berscheid and Kroeger, 2021) gives the time-optimal way to a target that moves on at a
constant speed, seen from the target: there it is a way to rest. Each step follows that way for as
long as has really passed, so what is sent are points of one curve whose acceleration is continuous,
however unevenly they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ruckig import (
    ControlInterface,
    InputParameter,
    Result,
    Ruckig,
    RuckigError,
    Synchronization,
    Trajectory,
)

from mvista_core.arm import ArmModel
from mvista_core.records import Float64

LIMIT_SHARE = 0.99
"""Of each limit is used: what is sent is judged against the whole, with rounding on the wire."""
_INSIDE = _THERE = 1e-9
"""Rounding."""


@dataclass(frozen=True)
class Moving:
    """Positions, velocities and accelerations [J] of one moment."""

    positions: Float64
    velocities: Float64
    accelerations: Float64

    @classmethod
    def resting(cls, positions: Float64) -> Moving:
        """At rest there."""
        still = np.zeros_like(positions)
        return cls(positions.copy(), still, still)

    @property
    def rests(self) -> bool:
        """Whether nothing moves."""
        return not (self.velocities.any() or self.accelerations.any())


class Pursuit:
    """The motion of one follower.

    From every state it is in, it can come to rest within the position limits: a step after which it
    could not is not taken, and that joint brakes instead.
    """

    def __init__(self, arm: ArmModel) -> None:
        self._lower, self._upper = arm.lower, arm.upper
        self._velocity = arm.max_velocity * LIMIT_SHARE
        self._acceleration = arm.max_acceleration * LIMIT_SHARE
        self._jerk = arm.max_jerk * LIMIT_SHARE
        joints = len(arm.joint_names)
        self._ruckig, self._way = Ruckig(joints), Trajectory(joints)
        self._asked = InputParameter(joints)
        self._asked.synchronization = Synchronization.No
        self._asked.max_acceleration = self._acceleration.tolist()
        self._asked.max_jerk = self._jerk.tolist()
        self._asked.target_acceleration = [0.0] * joints
        self.state = Moving.resting(arm.home)

    def start(self, positions: Float64) -> None:
        """Rest at a pose [J] within the limits."""
        self.state = Moving.resting(np.clip(positions, self._lower, self._upper))

    def toward(
        self, target: Float64, speeds: Float64, elapsed_s: float, velocity: Float64
    ) -> Moving:
        """One step of `elapsed_s` towards `target` [J], which lies within the limits and moves with
        `speeds` [J]; no joint faster than `velocity` [J]."""
        if self.state.rests and not speeds.any() and np.array_equal(target, self.state.positions):
            return self.state
        fastest = np.minimum(velocity, self._velocity)
        # A target at full speed could not be caught up with; and the way to it needs some room.
        speeds = np.clip(speeds, -0.95 * fastest, 0.95 * fastest)
        now = self._relative(target, speeds, elapsed_s, fastest)
        # Checked last, on what is to be sent: a way that is none brakes instead.
        change = np.abs(now.velocities - self.state.velocities)
        leaves = ~self._can_stop(now) | (
            change > self._acceleration * elapsed_s * (1 + 1e-4) + 1e-9
        )
        if leaves.any():
            braked = self._braking(self.state, elapsed_s)
            now = Moving(
                np.where(leaves, braked.positions, now.positions),
                np.where(leaves, braked.velocities, now.velocities),
                np.where(leaves, braked.accelerations, now.accelerations),
            )
        there = not speeds.any() and (np.abs(now.positions - target) < _THERE).all()
        still = there and not now.velocities.any() and not now.accelerations.any()
        self.state = Moving.resting(target) if still else self._inside(now)
        return self.state

    def brake(self, elapsed_s: float) -> Moving:
        """One step of `elapsed_s` of the smoothest stop that the limits allow."""
        self.state = self._inside(self._braking(self.state, elapsed_s))
        return self.state

    def _relative(
        self, target: Float64, speeds: Float64, elapsed_s: float, fastest: Float64
    ) -> Moving:
        """Where the time-optimal way to the moving target leads in this step."""
        state, asked = self.state, self._asked
        # `target` is where it is at the end of this step: seen from it, the way begins behind.
        begin = target - speeds * elapsed_s
        asked.control_interface = ControlInterface.Position
        asked.current_position = (state.positions - begin).tolist()
        asked.current_velocity = (state.velocities - speeds).tolist()
        asked.current_acceleration = state.accelerations.tolist()
        asked.target_position = asked.target_velocity = [0.0] * len(target)
        asked.max_velocity = (fastest - speeds).tolist()
        asked.min_velocity = (-fastest - speeds).tolist()
        found = self._solved(elapsed_s)
        if found is None:
            return self._braking(state, elapsed_s)
        return Moving(found.positions + target, found.velocities + speeds, found.accelerations)

    def _braking(self, state: Moving, elapsed_s: float) -> Moving:
        self._ask_to_stop(state)
        found = self._solved(elapsed_s)
        # It never fails from a state within the limits; if it did, to stand is the safe answer.
        return Moving.resting(state.positions) if found is None else found

    def _can_stop(self, state: Moving) -> np.ndarray:
        """Which joints [J] can come to rest from there within the position limits."""
        room = np.minimum(state.positions - self._lower, self._upper - state.positions)
        if (room > self._longest_stop(state)).all():
            return np.ones(len(room), dtype=bool)  # what Ruckig would take ten times as long to say
        self._ask_to_stop(state)
        if self._solved(0.0) is None:
            return np.zeros(len(state.positions), dtype=bool)
        extremes = self._way.position_extrema
        low = np.array([extreme.min for extreme in extremes])
        high = np.array([extreme.max for extreme in extremes])
        return np.asarray((low >= self._lower - _INSIDE) & (high <= self._upper + _INSIDE))

    def _longest_stop(self, state: Moving) -> Float64:
        """More way [J] than any stop from there takes."""
        # While what acceleration there is fades, speed grows by a^2 / 2j; a stop from rest of
        # acceleration takes v^2 / 2a and the way of building the deceleration up and down.
        fading = np.abs(state.accelerations) / self._jerk
        speed = np.abs(state.velocities) + 0.5 * np.abs(state.accelerations) * fading
        build_up = self._acceleration / self._jerk
        return np.asarray(speed * (0.5 * speed / self._acceleration + fading + 2.0 * build_up))

    def _ask_to_stop(self, state: Moving) -> None:
        asked = self._asked
        asked.control_interface = ControlInterface.Velocity
        asked.current_position = state.positions.tolist()
        asked.current_velocity = state.velocities.tolist()
        asked.current_acceleration = state.accelerations.tolist()
        asked.target_velocity = [0.0] * len(state.positions)
        asked.max_velocity = self._velocity.tolist()
        asked.min_velocity = (-self._velocity).tolist()

    def _solved(self, elapsed_s: float) -> Moving | None:
        """Ruckig's answer to what was asked, after so long; None: it has none."""
        try:
            result = self._ruckig.calculate(self._asked, self._way)
        except RuckigError:  # it met a state that it cannot solve by its own arithmetic: rare
            return None
        if result not in (Result.Working, Result.Finished):
            return None
        found: tuple[Any, ...] = self._way.at_time(elapsed_s)
        position, velocity, acceleration = (np.array(values) for values in found)
        return Moving(position, velocity, acceleration)

    def _inside(self, state: Moving) -> Moving:
        """Takes off rounding only: `_can_stop` has refused anything beyond it."""
        return Moving(
            np.clip(state.positions, self._lower, self._upper),
            state.velocities,
            state.accelerations,
        )
