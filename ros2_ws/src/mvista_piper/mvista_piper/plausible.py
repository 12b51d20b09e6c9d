"""Judging a stream of values: in range, not faster than an arm can move, agreeing when it begins.

One frame that is out of place is dropped and counted; it ends nothing. A run of them is what the
driver takes for a fault. Pure; one `Judge` per id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mvista_core.timing import NS_PER_S, seconds_to_ns

AGREEING = 3
"""Frames in a row that agree before the first of a stream counts."""
RUN = 5
"""Dropped frames in a row that are no outlier any more: 25 ms of a joint's feedback."""
_KEPT_NS = seconds_to_ns(0.1)
"""After a longer pause the last value says little about the next: the stream begins afresh."""
_PERIOD_NS = seconds_to_ns(0.005)
"""Frames that waited may be stamped closer to each other than they were measured."""


@dataclass(frozen=True)
class Reach:
    """What one value can be: a range, a fastest change per second, and what may always differ."""

    name: str
    lower: float
    upper: float
    fastest: float
    noise: float


class Judge:
    """The values of one id, one frame after another."""

    def __init__(self, reaches: Sequence[Reach] = ()) -> None:
        """Without `reaches` there is nothing to judge but that a frame was parsed at all."""
        self._reaches = tuple(reaches)
        self._last: tuple[Sequence[float], int] | None = None
        self._candidate: tuple[Sequence[float], int] | None = None
        self._agreed = 0
        self.dropped = self.in_a_row = self.runs = 0
        self.said = ""

    def refuse(self, why: str) -> None:
        """A frame that gave no value, or one that cannot be."""
        self._candidate, self._agreed = None, 0
        self._count(why)

    def accept(self, values: Sequence[float], now_ns: int) -> bool:
        """Whether these count; `said` tells why not."""
        if not self._reaches:
            self.in_a_row = 0
            return True
        for reach, value in zip(self._reaches, values, strict=True):
            if not reach.lower <= value <= reach.upper:
                self.refuse(
                    f"{reach.name} at {value:.3f}, possible are {reach.lower:.3f} to "
                    f"{reach.upper:.3f}"
                )
                return False
        last = self._last
        if last is not None and now_ns - last[1] > _KEPT_NS:
            last = self._last = None
        if last is not None and not self._leap(last, values, now_ns):
            self._take(values, now_ns)
            return True
        return self._begin(values, now_ns)

    def _begin(self, values: Sequence[float], now_ns: int) -> bool:
        """Nothing to compare with, or a leap: what follows must agree with itself."""
        before = self._candidate
        agrees = before is not None and not self._leap(before, values, now_ns)
        self._candidate, self._agreed = (values, now_ns), self._agreed + 1 if agrees else 1
        # The first frames of a stream wait; they count as dropped only where they contradict.
        against = self._last or (None if agrees else before)
        if against is not None:
            self._count(self._leap(against, values, now_ns))
        # A leap that lasts has been counted as a run by then, and is believed from there on.
        if self._agreed < (AGREEING if self._last is None else RUN):
            return False
        self._take(values, now_ns)
        return True

    def _take(self, values: Sequence[float], now_ns: int) -> None:
        self._last, self._candidate, self._agreed, self.in_a_row = (values, now_ns), None, 0, 0

    def _count(self, why: str) -> None:
        self.dropped += 1
        self.in_a_row += 1
        # Once for each run, however long it lasts.
        self.runs += self.in_a_row == RUN
        self.said = why

    def _leap(self, before: tuple[Sequence[float], int], values: Sequence[float], ns: int) -> str:
        """What changed faster than it can, "" if nothing did."""
        elapsed_s = max(ns - before[1], _PERIOD_NS) / NS_PER_S
        for reach, value, then in zip(self._reaches, values, before[0], strict=True):
            if abs(value - then) > reach.fastest * elapsed_s + reach.noise:
                return (
                    f"{reach.name} from {then:.3f} to {value:.3f} in {elapsed_s:.3f} s, at most "
                    f"{reach.fastest:.1f}/s is possible"
                )
        return ""
