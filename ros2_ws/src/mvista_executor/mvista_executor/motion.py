"""What every stage speaks: a motion is a curve over time that ends at rest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from mvista_core.records import Float64


class Why(str, Enum):
    """Why a set-point is what it is: how what is sent differs from what was asked.

    The reasons of a `SetPointReport`; a set-point may have several.
    """

    EXACT = "exact"
    """On the curve through the points, at the asked time."""
    RETIMED = "retimed"
    """On the curve, later than asked: slowed to keep the limits."""
    SMOOTHED = "smoothed"
    """On a curve that leaves the points by a stated distance: jitter, or a limit beside a step."""
    DELAYED = "delayed"
    """On the curve, later than asked: the first point is given more time."""
    APPROACH = "approach"
    """The slow move to a first point that lies farther off."""
    SPLICE = "splice"
    """From the motion that was replaced to the new curve, with its velocity and acceleration."""
    WAIT = "wait"
    """At rest until feedback is fresh, or until the asked start time."""
    PAUSED = "paused"
    """At rest after the stream was not called for too long; the curve goes on afterwards."""
    HOLD = "hold"
    """At rest at the end, or idle."""
    STOP = "stop"
    """A smooth stop: cancelled, replaced from afar, or something went wrong."""


@dataclass(frozen=True)
class MotionState:
    """Positions, velocities and accelerations, [J] or [N, J] (rad; m for the gripper)."""

    positions: Float64
    velocities: Float64
    accelerations: Float64

    @staticmethod
    def rest(positions: Float64) -> MotionState:
        """At rest there."""
        return MotionState(positions, np.zeros_like(positions), np.zeros_like(positions))


class Motion(Protocol):
    """A C2 curve with bounded jerk; before 0 and after `duration_s` it rests."""

    @property
    def duration_s(self) -> float: ...

    def at(self, time_s: float) -> MotionState:
        """The state at one time; the end state, at rest, after `duration_s`."""


@dataclass(frozen=True)
class Hold:
    """Rest at one pose [J]."""

    positions: Float64
    duration_s: float = 0.0

    def at(self, time_s: float) -> MotionState:
        """At rest, whenever."""
        return MotionState.rest(self.positions)
