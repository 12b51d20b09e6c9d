"""Stage 2, splice: the slow move from the measured pose to a first point farther off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.records import Float64
from mvista_executor.motion import MotionState
from mvista_executor.settings import ExecutorSettings, per_joint

# Peaks of the unit quintic 10 u^3 - 15 u^4 + 6 u^5 and its derivatives on [0, 1].
_PEAK_VELOCITY = 1.875
_PEAK_ACCELERATION = 10.0 / np.sqrt(3.0)


@dataclass(frozen=True)
class Approach:
    """A rest-to-rest quintic, all joints arriving together."""

    start: Float64
    target: Float64
    duration_s: float

    def at(self, time_s: float) -> MotionState:
        """State [J] at `time_s` after the start."""
        if self.duration_s == 0.0:
            return MotionState(self.target, np.zeros_like(self.target), np.zeros_like(self.target))
        u = float(np.clip(time_s / self.duration_s, 0.0, 1.0))
        way = self.target - self.start
        return MotionState(
            self.start + way * (u**3 * (10.0 - 15.0 * u + 6.0 * u**2)),
            way * (30.0 * u**2 * (1.0 - u) ** 2) / self.duration_s,
            way * (60.0 * u * (1.0 - u) * (1.0 - 2.0 * u)) / self.duration_s**2,
        )


def needs_approach(
    start: Float64, first: Float64, arm: ArmModel, settings: ExecutorSettings
) -> bool:
    """Whether the first point is farther from the start [J] than the thresholds."""
    near = per_joint(arm, settings.approach_above_rad, settings.approach_above_m)
    return bool((np.abs(first - start) > near).any())


def approach(
    start: Float64, target: Float64, arm: ArmModel, settings: ExecutorSettings
) -> Approach:
    """The slow move: approach speed, and no more than `limit_fraction` of either limit."""
    slow = per_joint(arm, settings.approach_speed_rad_s, settings.approach_speed_m_s)
    speed = np.minimum(slow, settings.limit_fraction * arm.max_velocity)
    acceleration = settings.limit_fraction * arm.max_acceleration
    way = np.abs(target - start)
    by_speed = _PEAK_VELOCITY * way / speed
    by_acceleration = np.sqrt(_PEAK_ACCELERATION * way / acceleration)
    return Approach(start, target, float(np.maximum(by_speed, by_acceleration).max()))
