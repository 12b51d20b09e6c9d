"""How evenly the stream is called: the largest gap between two ticks."""

from __future__ import annotations

from mvista_core.timing import ns_to_seconds


class GapMeter:
    """Largest gap between successive ticks since it was last asked."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._largest_ns = 0

    def tick(self, now_ns: int) -> None:
        """Note a tick at a monotonic time."""
        if self._last_ns is not None:
            self._largest_ns = max(self._largest_ns, now_ns - self._last_ns)
        self._last_ns = now_ns

    def take_s(self) -> float:
        """The largest gap in seconds; counting begins anew."""
        largest_ns, self._largest_ns = self._largest_ns, 0
        return ns_to_seconds(largest_ns)
