"""What the page costs: shares of one core while somebody looks and while nobody does."""

from __future__ import annotations

from collections.abc import Callable

from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds


class Cost:
    """Adds up processor time; `used_s` says how much this process has used so far (s)."""

    def __init__(self, used_s: Callable[[], float], clock: Clock) -> None:
        self._used_s, self._clock = used_s, clock
        self._spent = {True: [0.0, 0.0], False: [0.0, 0.0]}
        self._from_s, self._from_ns = used_s(), clock.monotonic_ns()

    def add(self, watched: bool) -> float:
        """The time since the last call was `watched` or not; returns its share of one core."""
        used_s, now_ns = self._used_s(), self._clock.monotonic_ns()
        cpu_s, wall_s = used_s - self._from_s, ns_to_seconds(now_ns - self._from_ns)
        self._from_s, self._from_ns = used_s, now_ns
        self._spent[watched][0] += cpu_s
        self._spent[watched][1] += wall_s
        return cpu_s / max(wall_s, 1e-9)

    def share(self, watched: bool) -> float | None:
        """Of one core, over all of that time; None where there was none."""
        cpu_s, wall_s = self._spent[watched]
        return cpu_s / wall_s if wall_s > 0 else None

    def __str__(self) -> str:
        parts = []
        for watched, words in ((False, "nobody looked"), (True, "somebody looked")):
            share, seconds = self.share(watched), self._spent[watched][1]
            if share is not None and seconds >= 1.0:
                parts.append(f"{share:.1%} of one core while {words} ({seconds:.0f} s)")
        return ", ".join(parts) or "no time to measure"
