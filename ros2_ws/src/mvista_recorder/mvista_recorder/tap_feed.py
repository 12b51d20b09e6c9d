"""A camera's tap into the recorder: a thread per camera, which compresses depth as well."""

from __future__ import annotations

import threading

from mvista_core.capture import Capture
from mvista_core.errors import MvistaError
from mvista_core.ports import Clock
from mvista_core.tap import TapReader
from mvista_core.tap_wire import tap_path
from mvista_core.timing import seconds_to_ns
from mvista_recorder.camera_feed import CameraFeed
from mvista_ros.convert.jpeg import decode_jpeg

WAIT_S = 0.25
JOIN_S = 2.0
RECENT_S = 5.0
"""For so long a trouble is told; one that lasts is told anew meanwhile."""


class TapFeed:
    """Reads a tap until `close`. An image that cannot be used is dropped, counted and told."""

    def __init__(self, feed: CameraFeed, place: str, clock: Clock) -> None:
        """`place` is the camera's full name: "cell_a/cam0"."""
        self._feed, self._clock = feed, clock
        # Nothing is decoded here; a capture wants to know how, all the same.
        self._reader = TapReader(tap_path(place), decode_jpeg)
        self._lost_before = 0
        self._trouble: tuple[str, int] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"tap {feed.name}", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether the camera's process is there."""
        return self._reader.connected

    @property
    def trouble(self) -> str:
        """What was wrong with it in the last `RECENT_S` seconds, in words; "" nothing."""
        if (told := self._trouble) is None:
            return ""
        words, at_ns = told
        return words if self._clock.monotonic_ns() - at_ns < seconds_to_ns(RECENT_S) else ""

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join(JOIN_S)
        self._reader.close()

    def _read(self) -> None:
        while not self._closed.is_set():
            try:
                capture = self._reader.next(WAIT_S)
                if capture is not None:
                    self._take(capture)
            except MvistaError as error:
                self._tell(error)
                # A tap that refuses does so at once: nobody is to ask it without a pause.
                self._closed.wait(WAIT_S)

    def _take(self, capture: Capture) -> None:
        """Each half by itself: one that cannot be used takes neither the other nor the count of
        what was lost before it along."""
        lost, self._lost_before = self._reader.lost - self._lost_before, self._reader.lost
        feed, sequence = self._feed, capture.sequence
        feed.calibrate(capture.calibration)
        try:
            feed.color(capture.jpeg, capture.stamp_ns, sequence, lost, capture.clock_residual_ns)
        except MvistaError as error:
            feed.drop_color(lost + 1)
            self._tell(error)
        try:
            feed.depth(capture.native_depth_mm, capture.depth_stamp_ns, sequence, lost)
        except MvistaError as error:
            feed.drop_depth(lost + 1)
            self._tell(error)

    def _tell(self, error: MvistaError) -> None:
        words = f"{self._feed.name}: [{error.code}] {error}"
        self._trouble = words, self._clock.monotonic_ns()
