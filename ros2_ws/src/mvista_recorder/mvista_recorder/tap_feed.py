"""A camera's tap into the recorder: a thread per camera, which compresses depth as well."""

from __future__ import annotations

import threading

from mvista_core.errors import MvistaError
from mvista_core.tap import TapReader
from mvista_core.tap_wire import tap_path
from mvista_recorder.camera_feed import CameraFeed
from mvista_ros.convert.jpeg import decode_jpeg

WAIT_S = 0.25
JOIN_S = 2.0


class TapFeed:
    """Reads a tap until `close`. `trouble` is what was last wrong with it, in words."""

    def __init__(self, feed: CameraFeed, place: str) -> None:
        """`place` is the camera's full name: "cell_a/cam0"."""
        self._feed = feed
        # Nothing is decoded here; a capture wants to know how, all the same.
        self._reader = TapReader(tap_path(place), decode_jpeg)
        self.trouble = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"tap {feed.name}", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether the camera's process is there."""
        return self._reader.connected

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join(JOIN_S)
        self._reader.close()

    def _read(self) -> None:
        lost_before = 0
        while not self._closed.is_set():
            try:
                capture = self._reader.next(WAIT_S)
                if capture is None:
                    continue
                lost, lost_before = self._reader.lost - lost_before, self._reader.lost
                self._feed.calibrate(capture.calibration)
                self._feed.color(
                    capture.jpeg,
                    capture.stamp_ns,
                    capture.sequence,
                    lost,
                    capture.clock_residual_ns,
                )
                self._feed.depth(
                    capture.native_depth_mm, capture.depth_stamp_ns, capture.sequence, lost
                )
            except MvistaError as error:
                self.trouble = f"[{error.code}] {error}"
