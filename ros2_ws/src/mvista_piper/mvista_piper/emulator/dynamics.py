"""How the emulated joints move: driven within limits, braked, lowered, or falling.

One `Axis` per motor. A driven axis never exceeds its speed and acceleration limits. One without
power falls with what gravity turns it with, less the friction of its gears; after an emergency
stop it sinks at a crawl. Links stop at their ends of travel and at the plane the arm stands on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import copysign, sqrt

from mvista_piper.emulator.kinematics import gravity_torques, lowest_height_m

GAIN_PER_S = 40.0
"""Position gain close to the target; farther away an axis plans its own stop."""
_PLANNED_SHARE = 0.9
"""Share of the deceleration limit that stops are planned with: a sampled loop acts late."""
_ARRIVED_RAD, _ARRIVED_RAD_S = 2e-6, 1e-4

SINK_RAD_S = 0.3
"""Fastest joint speed of the damped descent after an emergency stop."""
_SINK_RAD_S_PER_NM = 0.15
FRICTION_NM = (2.0, 0.6, 0.6, 0.4, 0.9, 0.4)
_INERTIA_KGM2 = (0.5, 0.35, 0.15, 0.02, 0.03, 0.01)
_DRAG_PER_S = 0.5
_FLOOR_M = 0.01


@dataclass
class Axis:
    """One motor: radians (metres for the gripper), per second, per second squared."""

    position: float
    lower: float
    upper: float
    max_speed: float
    max_acceleration: float
    velocity: float = 0.0
    acceleration: float = 0.0

    def track(
        self, target: float, target_velocity: float, speed_share: float, period_s: float
    ) -> None:
        """One period towards a target that moves; `speed_share` scales the speed limit."""
        error = target - self.position
        there = abs(error) < _ARRIVED_RAD and abs(self.velocity) < _ARRIVED_RAD_S
        if there and target_velocity == 0.0:
            self._arrive(target)
            return
        deceleration = _PLANNED_SHARE * self.max_acceleration
        # v = k e up to e = a/k^2, then sqrt(2a(e - knee/2)): value and slope agree where they meet.
        knee = deceleration / GAIN_PER_S**2
        closing = abs(error)
        if closing <= knee:
            closing *= GAIN_PER_S
        else:
            closing = sqrt(2.0 * deceleration * (closing - 0.5 * knee))
        self._steer(target_velocity + copysign(closing, error), speed_share, period_s)

    def carry(self, position: float, period_s: float) -> None:
        """Carried there by a hand within one period; an end of travel stops it."""
        position = max(self.lower, min(self.upper, position))
        self.position, self.velocity = position, (position - self.position) / period_s
        self.acceleration = 0.0

    def brake(self, period_s: float) -> None:
        """One period of the hardest allowed stop."""
        self._steer(0.0, 1.0, period_s)

    def sink(self, torque_nm: float, period_s: float) -> None:
        """One period of the damped descent: brake to a crawl in the direction gravity pulls."""
        wanted = max(-SINK_RAD_S, min(SINK_RAD_S, torque_nm * _SINK_RAD_S_PER_NM))
        self._steer(wanted, 1.0, period_s)

    def fall(self, torque_nm: float, friction_nm: float, inertia: float, period_s: float) -> None:
        """One period without power."""
        if self.velocity:
            friction = -copysign(friction_nm, self.velocity)
        else:
            # At rest friction takes no more than the torque itself: it does not push.
            friction = -copysign(min(friction_nm, abs(torque_nm)), torque_nm)
        acceleration = (torque_nm + friction) / inertia - _DRAG_PER_S * self.velocity
        velocity = self.velocity + acceleration * period_s
        # Friction brings a joint to rest and never turns it round.
        if velocity * self.velocity < 0.0 and abs(torque_nm) <= friction_nm:
            velocity = 0.0
        self._move(velocity, period_s)

    def halt(self) -> None:
        """Against something solid."""
        self.velocity = self.acceleration = 0.0

    def _before_the_end(self, wanted: float, period_s: float) -> float:
        """No faster towards an end of travel than can be braked before it: a target that jumped
        there has a velocity of its own, which would carry the joint into it."""
        if wanted == 0.0:
            return wanted
        room = max(0.0, self.upper - self.position if wanted > 0.0 else self.position - self.lower)
        velocity = copysign(self.velocity, self.velocity * wanted)
        change = self.max_acceleration * period_s
        # Velocity is linear within a period, so this one covers (v0 + v) T / 2. From v, whole
        # periods of braking cover at most v^2 / 2a + a T^2 / 8; up to a T one period is enough.
        left = 2.0 * self.max_acceleration * room - change * velocity
        braked = sqrt(max(0.0, left)) - 0.5 * change
        one_period = min(change, room / period_s - 0.5 * velocity)
        return copysign(min(abs(wanted), max(0.0, braked, one_period)), wanted)

    def _steer(self, wanted: float, speed_share: float, period_s: float) -> None:
        limit, change = self.max_speed * speed_share, self.max_acceleration * period_s
        if abs(self.velocity) > limit:
            limit = max(limit, abs(self.velocity) - change)
        wanted = self._before_the_end(max(-limit, min(limit, wanted)), period_s)
        self._move(max(self.velocity - change, min(self.velocity + change, wanted)), period_s)

    def _move(self, velocity: float, period_s: float) -> None:
        self.position += 0.5 * (self.velocity + velocity) * period_s
        self.acceleration = (velocity - self.velocity) / period_s
        self.velocity = velocity
        if not self.lower <= self.position <= self.upper:
            self.position = max(self.lower, min(self.upper, self.position))
            self.halt()

    def _arrive(self, target: float) -> None:
        self.position = target
        self.halt()


class Joints:
    """The six axes of the arm under gravity."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)
        self.torques_nm: tuple[float, ...] = gravity_torques(self.positions)

    @property
    def positions(self) -> list[float]:
        """Joint angles [6] in rad."""
        return [axis.position for axis in self.axes]

    def feel_gravity(self) -> None:
        """Work out gravity's pull for the present pose; once per period, before moving."""
        self.torques_nm = gravity_torques(self.positions)

    def fall(self, motor: int, period_s: float) -> None:
        """Motor (from 0) has no power for one period."""
        torque, friction, axis = self.torques_nm[motor], FRICTION_NM[motor], self.axes[motor]
        against_its_end = (
            axis.position >= axis.upper if torque > 0.0 else axis.position <= axis.lower
        )
        if not axis.velocity and (abs(torque) <= friction or against_its_end):
            return
        self._down_to_the_floor(
            motor, lambda a: a.fall(torque, friction, _INERTIA_KGM2[motor], period_s)
        )

    def sink(self, motor: int, period_s: float) -> None:
        """Motor (from 0) is stopped by an emergency stop for one period."""
        torque = self.torques_nm[motor]
        if abs(torque) <= FRICTION_NM[motor]:
            torque = 0.0
        self._down_to_the_floor(motor, lambda a: a.sink(torque, period_s))

    def _down_to_the_floor(self, motor: int, move: Callable[[Axis], None]) -> None:
        axis = self.axes[motor]
        before, height = axis.position, lowest_height_m(self.positions)
        move(axis)
        after = lowest_height_m(self.positions)
        # Only what goes farther down is stopped: an arm below the floor can still come up.
        if after < _FLOOR_M and after < height:
            axis.position = before
            axis.halt()
