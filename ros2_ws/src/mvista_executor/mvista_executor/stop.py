"""Stage 5b: from any moving state to rest, within the acceleration limits. A stop is a hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.records import Float64
from mvista_executor.motion import MotionState

_PEAK = 1.5
"""Largest slope of the smoothstep 3 u^2 - 2 u^3."""


@dataclass(frozen=True)
class Brake:
    """Each joint slows to rest on its own: smoothly where there is room, else firmly.

    Smooth: the velocity falls as a smoothstep whose peak deceleration is the joint's limit, over a
    way of 0.75 v^2/a. Where that would end outside the position limits the joint brakes at its
    limit throughout, over 0.5 v^2/a: the shortest way there is, so a curve that itself stays
    within the limits and ends at rest always leaves room for it.
    """

    positions: Float64
    velocities: Float64
    seconds: Float64
    smooth: np.ndarray
    lower: Float64
    upper: Float64

    @property
    def duration_s(self) -> float:
        """Seconds until every joint rests."""
        return float(self.seconds.max())

    def at(self, time_s: float) -> MotionState:
        """State [J] at `time_s` after the brake began; at rest after `duration_s`."""
        seconds = np.maximum(self.seconds, 1e-9)
        u = np.clip(time_s / seconds, 0.0, 1.0)
        way = np.where(self.smooth, u - u**3 + 0.5 * u**4, u - 0.5 * u**2)
        left = np.where(self.smooth, 1.0 - u**2 * (3.0 - 2.0 * u), 1.0 - u)
        slope = np.where(self.smooth, -6.0 * u * (1.0 - u), np.where(u < 1.0, -1.0, 0.0))
        positions = self.positions + self.velocities * seconds * way
        return MotionState(
            np.clip(positions, self.lower, self.upper),
            self.velocities * left,
            self.velocities * slope / seconds,
        )


def brake(state: MotionState, arm: ArmModel) -> Brake:
    """The stop from a state [J]. See `Brake`."""
    speed = np.abs(state.velocities)
    gentle_s = _PEAK * speed / arm.max_acceleration
    rest = state.positions + 0.5 * state.velocities * gentle_s
    smooth = (rest >= arm.lower) & (rest <= arm.upper)
    seconds = np.where(smooth, gentle_s, speed / arm.max_acceleration)
    return Brake(state.positions, state.velocities, seconds, smooth, arm.lower, arm.upper)


def hold(positions: Float64, arm: ArmModel) -> Brake:
    """Rest at a position [J]."""
    rest = np.zeros_like(positions)
    return brake(MotionState(positions, rest, rest), arm)
