"""What every stage speaks: a motion is a curve over time that ends at rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mvista_core.records import Float64


@dataclass(frozen=True)
class MotionState:
    """Positions, velocities and accelerations, [J] or [N, J] (rad; m for the gripper)."""

    positions: Float64
    velocities: Float64
    accelerations: Float64


class Motion(Protocol):
    """A C1 curve with bounded acceleration; before 0 and after `duration_s` it rests."""

    @property
    def duration_s(self) -> float: ...

    def at(self, time_s: float) -> MotionState:
        """The state at one time; the end state, at rest, after `duration_s`."""
