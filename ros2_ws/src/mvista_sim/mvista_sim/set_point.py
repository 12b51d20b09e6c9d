"""The arm's own motion limits: one set-point per joint that pursues its target. No ROS, no engine.

Plain floats: seven joints are too few for NumPy, whose calls cost more than the arithmetic here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mvista_core.records import Float64


class LimitedSetPoint:
    """Moves by `dt_s` a step, each joint within its velocity and acceleration, to its target."""

    def __init__(
        self, start: Float64, max_velocity: Float64, max_acceleration: Float64, dt_s: float
    ) -> None:
        self._max_velocity = [float(limit) for limit in max_velocity]
        self._max_acceleration = [float(limit) for limit in max_acceleration]
        self._dt_s = dt_s
        self.place(start)

    def place(self, positions: Float64) -> None:
        """Be there at once, at rest."""
        self.positions = [float(position) for position in positions]
        self.velocities = [0.0] * len(self.positions)
        self._targets = list(self.positions)
        self.resting = True

    def aim(self, joint: int, target: float) -> None:
        """Pursue another target with one joint."""
        self._targets[joint] = float(target)
        self.resting = False

    def hold(self, lower: Float64, upper: Float64) -> None:
        """Aim where each joint comes to rest by braking now, inside `lower` to `upper`."""
        speeds = np.array(self.velocities)
        stop = self.positions + speeds * np.abs(speeds) / (2 * np.array(self._max_acceleration))
        self._aim_all(np.clip(stop, lower, upper).tolist())

    def step(self) -> None:
        """Let `dt_s` pass. `resting` tells whether a further step would change nothing."""
        resting, dt_s = True, self._dt_s
        for joint, target in enumerate(self._targets):
            gap, velocity = target - self.positions[joint], self.velocities[joint]
            if gap == 0.0 and velocity == 0.0:
                continue
            resting = False
            limit, distance = self._max_acceleration[joint], abs(gap)
            # The speed from which the arm can still brake to rest on the target.
            brake = math.sqrt(2 * limit * distance)
            speed = min(brake, distance / dt_s, self._max_velocity[joint])
            change = limit * dt_s
            velocity += min(max(math.copysign(speed, gap) - velocity, -change), change)
            self.velocities[joint] = velocity
            self.positions[joint] += velocity * dt_s
        self.resting = resting

    def _aim_all(self, targets: Sequence[float]) -> None:
        self._targets = list(targets)
        self.resting = False
