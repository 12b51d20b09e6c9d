"""How evenly the stream is called: gaps between ticks, the largest and the too large."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mvista_core.timing import ns_to_seconds

GAP_PERIODS = 1.9
"""A gap longer than so many periods is told, one by one; below 2, so that none over 2 by the
set-points' own stamps (wall time) is left out."""
_KEPT = 1000


@dataclass(frozen=True)
class Gap:
    """Two set-points `seconds` apart, the later one at wall time `stamp_ns`."""

    stamp_ns: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds * 1e3:.1f} ms between two set-points, stamp {self.stamp_ns}"


class GapMeter:
    """Gaps between successive ticks; `tick` on one thread, the rest on another."""

    def __init__(self, period_s: float) -> None:
        self._allowed_ns = round(GAP_PERIODS * period_s * 1e9)
        self._last_ns: tuple[int, int] | None = None
        self._largest_ns = 0
        self._long: deque[Gap] = deque(maxlen=_KEPT)
        self.total = 0

    def tick(self, now_ns: int, stamp_ns: int) -> None:
        """Note a tick at a monotonic time, and its set-point's stamp (wall time).

        The two are read one after the other: a stall between them shows in one of them only, so
        the larger difference counts.
        """
        if self._last_ns is not None:
            gap_ns = max(now_ns - self._last_ns[0], stamp_ns - self._last_ns[1])
            self._largest_ns = max(self._largest_ns, gap_ns)
            if gap_ns > self._allowed_ns:
                self.total += 1
                self._long.append(Gap(stamp_ns, ns_to_seconds(gap_ns)))
        self._last_ns = now_ns, stamp_ns

    def take_s(self) -> float:
        """The largest gap in seconds since this was last asked."""
        largest_ns, self._largest_ns = self._largest_ns, 0
        return ns_to_seconds(largest_ns)

    def take_long(self) -> tuple[Gap, ...]:
        """The gaps over `GAP_PERIODS` periods since this was last asked."""
        return tuple(self._long.popleft() for _ in range(len(self._long)))
