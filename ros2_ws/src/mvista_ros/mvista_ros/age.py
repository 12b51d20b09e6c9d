"""How old what was seen is. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_core.ports import Clock
from mvista_core.records import Observation
from mvista_core.timing import ns_to_seconds


@dataclass(frozen=True)
class Age:
    """How old what was seen is: by its stamps when it was taken, by the steady clock since."""

    clock: Clock
    at_taking_s: float
    taken_ns: int

    @classmethod
    def of(cls, observation: Observation, clock: Clock) -> Age:
        """The age of the oldest frame of an observation that was taken just now."""
        oldest_ns = min(frame.stamp_ns for frame in observation.frames)
        at_taking_s = max(ns_to_seconds(clock.now_ns() - oldest_ns), 0.0)
        return cls(clock, at_taking_s, clock.monotonic_ns())

    def seconds(self) -> float:
        """The age now; a wall clock that is set meanwhile changes nothing about it."""
        return self.at_taking_s + ns_to_seconds(self.clock.monotonic_ns() - self.taken_ns)
