"""Where a camera's captures go: to its tap, to its topics, and into the log of what was sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mvista_cameras.pace import Pace
from mvista_cameras.ports import CaptureSource
from mvista_core.capture import Capture
from mvista_core.errors import ObservationError
from mvista_core.ports import Clock
from mvista_core.tap import Tap
from mvista_core.timing import ns_to_seconds


class Outlet:
    """`publish` gives a capture to the topics; `tap` may be opened and closed between captures."""

    def __init__(
        self, publish: Callable[[Capture], None], rate_hz: float, clock: Clock, logs: bool
    ) -> None:
        self._publish, self._clock = publish, clock
        self._sent: list[tuple[int, int]] | None = [] if logs else None
        self.pace = Pace(rate_hz, clock.monotonic_ns())
        self.tap: Tap | None = None

    def give(self, source: CaptureSource, capture: Capture) -> None:
        """Hand a capture on; one that cannot be decoded for who reads it is the source's news."""
        now_ns, tap = self._clock.now_ns(), self.tap
        if tap is not None:
            # First: who reads the tap need not wait until pixels are made.
            if capture.jpeg:
                tap.offer(capture)
            else:
                # A tap that is there and gives nothing keeps its readers from the topics.
                self.close()
        try:
            self._publish(capture)
        except ObservationError as error:
            return source.skip(str(error))
        self.pace.shot(ns_to_seconds(now_ns - capture.stamp_ns), self._clock.monotonic_ns())
        if self._sent is not None:
            self._sent.append((capture.stamp_ns, now_ns))

    def close(self) -> None:
        """Close the tap."""
        tap, self.tap = self.tap, None
        if tap is not None:
            tap.close()

    def values(self) -> tuple[tuple[str, str], ...]:
        """Of the tap: where, who reads, what slow readers lost."""
        if (tap := self.tap) is None:
            return ()
        return (
            ("tap", str(tap.path)),
            ("tap readers", str(tap.readers)),
            ("captures lost by slow tap readers", str(tap.lost)),
        )

    def write_log(self, path: Path) -> None:
        """Stamp and publish time (ns) of every capture that went out."""
        lines = "\n".join(f"{stamp},{sent}" for stamp, sent in self._sent or ())
        path.write_text(f"stamp_ns,sent_ns\n{lines}\n")
