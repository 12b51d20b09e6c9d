"""One stage's progress, from the messages of a sub-action to the task's own feedback."""

from __future__ import annotations

from mvista_core.ports import Clock, Progress
from mvista_core.timing import seconds_to_ns

PERIOD_S = 0.1


class Relay:
    """Turns irregular reports into a progress that never goes back, told at most every 0.1 s."""

    def __init__(self, progress: Progress, stage: str, clock: Clock) -> None:
        self._progress = progress
        self._stage = stage
        self._clock = clock
        self._fraction = 0.0
        self._due_ns = clock.monotonic_ns()

    def update(self, fraction: float) -> None:
        """A report of the sub-action; what goes back (it begins a second phase) is not told."""
        self._fraction = min(1.0, max(self._fraction, fraction))

    def keep_going(self) -> bool:
        """Tell, and ask whether to go on. Between two times of telling: True."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns:
            return True
        self._due_ns = now_ns + seconds_to_ns(PERIOD_S)
        return self._progress(self._stage, self._fraction)
