"""A camera's topics into the recorder, where it has no tap: a thread per camera compresses."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from mvista_core.errors import MvistaError
from mvista_core.records import Intrinsics
from mvista_core.registration import StreamCalibration
from mvista_recorder.camera_feed import CameraFeed
from mvista_ros.convert.image_bytes import color_from_bytes, depth_from_bytes

WAITING = 30
"""Images of one camera that wait to be compressed: a second of colour and depth at 15 Hz."""
JOIN_S = 2.0


class TopicFeed:
    """Takes serialised images; never waits. What finds no room is dropped and counted."""

    def __init__(self, feed: CameraFeed) -> None:
        self._feed = feed
        self._waiting: deque[Callable[[], None]] = deque()
        self._more = threading.Condition()
        self._closed = False
        self.trouble = ""
        self._thread = threading.Thread(target=self._work, name=f"topics {feed.name}", daemon=True)
        self._thread.start()

    def lens(self, lens: Intrinsics) -> None:
        """The camera's lens: depth on topics is registered to colour."""
        self._feed.calibrate(StreamCalibration.aligned(lens))

    def color(self, data: bytes) -> None:
        """A serialised colour image."""
        self._offer(lambda: self._color(data), self._feed.drop_color)

    def depth(self, data: bytes) -> None:
        """A serialised depth image."""
        self._offer(lambda: self._depth(data), self._feed.drop_depth)

    def close(self) -> None:
        """Stop working."""
        with self._more:
            self._closed = True
            self._more.notify()
        self._thread.join(JOIN_S)

    def _color(self, data: bytes) -> None:
        image = color_from_bytes(data)
        self._feed.color_pixels(image.pixels, image.stamp_ns)

    def _depth(self, data: bytes) -> None:
        image = depth_from_bytes(data)
        self._feed.depth(image.pixels, image.stamp_ns)

    def _offer(self, work: Callable[[], None], drop: Callable[[], None]) -> None:
        # Before the lens is known nobody can read an image.
        if not self._feed.calibrated:
            return
        with self._more:
            room = len(self._waiting) < WAITING
            if room:
                self._waiting.append(work)
                self._more.notify()
        if not room:
            drop()

    def _work(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self._closed)
                # What waits is given up: the episode has been ended before (`RecorderNode.stop`).
                if self._closed:
                    return
                work = self._waiting.popleft()
            try:
                work()
            except MvistaError as error:
                self.trouble = f"[{error.code}] {error}"
