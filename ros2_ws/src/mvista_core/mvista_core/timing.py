"""Time is data: the clock is injected. The wall clock is read here and nowhere else.

Stamps (`stamp_ns`) are wall time, for pairing with the world. Intervals and deadlines use the
monotonic clock, so that an NTP step cannot move the arm.
"""

from __future__ import annotations

import time

from mvista_core.ports import Clock

NS_PER_S = 1_000_000_000

CLOCK_TRIES, TOGETHER_NS = 5, 50_000
"""Two clocks are read in some microseconds, unless the thread is paused between them."""


def seconds_to_ns(seconds: float) -> int:
    """Seconds to whole nanoseconds, rounded to nearest."""
    return round(seconds * NS_PER_S)


def ns_to_seconds(nanoseconds: int) -> float:
    """Nanoseconds to seconds."""
    return nanoseconds / NS_PER_S


def read_clocks(clock: Clock) -> tuple[int, int]:
    """The host's (monotonic, wall) clock at one moment, ns.

    Their difference goes into a stamp. They are read one after the other, so the wall clock stands
    between two readings of the monotonic one: of a few tries the closest counts, and what is left
    of a pause is at most half of the time between the two.
    """
    found: list[tuple[int, int, int]] = []
    for _ in range(CLOCK_TRIES):
        before_ns, wall_ns, after_ns = clock.monotonic_ns(), clock.now_ns(), clock.monotonic_ns()
        found.append((after_ns - before_ns, before_ns, wall_ns))
        if after_ns - before_ns <= TOGETHER_NS:
            break
    width_ns, before_ns, wall_ns = min(found)
    return before_ns + width_ns // 2, wall_ns


class SystemClock:
    """The machine's clock: the `Clock` port of every running process."""

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the epoch: for stamps only."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic time in nanoseconds: for intervals, deadlines and staleness."""
        return time.monotonic_ns()

    def sleep_until(self, monotonic_ns: int) -> None:
        """Sleep until a monotonic instant; returns at once when it has passed."""
        remaining_ns = monotonic_ns - time.monotonic_ns()
        if remaining_ns > 0:
            time.sleep(remaining_ns / NS_PER_S)


class ManualClock:
    """A clock that moves only when told to: exact timing without waiting."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, monotonic_ns: int) -> None:
        self._now_ns = max(self._now_ns, monotonic_ns)

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds` (>= 0)."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: {seconds} s")
        self._now_ns += seconds_to_ns(seconds)
