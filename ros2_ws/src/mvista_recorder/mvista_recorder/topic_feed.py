"""A camera's topics into the recorder, where it has no tap: a thread per camera compresses."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum

from mvista_core.errors import MvistaError
from mvista_core.records import Intrinsics
from mvista_core.registration import StreamCalibration
from mvista_recorder.camera_feed import CameraFeed
from mvista_ros.convert.image_bytes import color_from_bytes, depth_from_bytes

WAITING = 30
"""Images of one camera that wait to be compressed: a second of colour and depth at 15 Hz."""
JOIN_S = 2.0


class ImageKind(Enum):
    """Which of a camera's two image topics."""

    COLOR = "colour"
    DEPTH = "depth"


class TopicFeed:
    """Takes serialised images; never waits. What finds no room is dropped and counted."""

    def __init__(self, feed: CameraFeed, refuse: Callable[[ImageKind, MvistaError], None]) -> None:
        """`refuse` is told, on this feed's thread, of each image that cannot be used."""
        self._feed, self._refuse = feed, refuse
        self._waiting: deque[tuple[ImageKind, bytes]] = deque()
        self._more = threading.Condition()
        self._closed = self._calibrated = False
        self._thread = threading.Thread(target=self._work, name=f"topics {feed.name}", daemon=True)
        self._thread.start()

    def lens(self, lens: Intrinsics) -> None:
        """The camera's lens: depth on topics is registered to colour."""
        self._feed.calibrate(StreamCalibration.aligned(lens))
        self._calibrated = True

    def color(self, data: bytes) -> None:
        """A serialised colour image."""
        self._offer(ImageKind.COLOR, data)

    def depth(self, data: bytes) -> None:
        """A serialised depth image."""
        self._offer(ImageKind.DEPTH, data)

    def close(self) -> None:
        """Stop working; what waits is dropped and counted."""
        with self._more:
            self._closed = True
            given_up = [kind for kind, _ in self._waiting]
            self._waiting.clear()
            self._more.notify()
        self._thread.join(JOIN_S)
        for kind in given_up:
            self._drop(kind)

    def _use(self, kind: ImageKind, data: bytes) -> None:
        if kind is ImageKind.COLOR:
            image = color_from_bytes(data)
            self._feed.color_pixels(image.pixels, image.stamp_ns)
        else:
            image = depth_from_bytes(data)
            self._feed.depth(image.pixels, image.stamp_ns)

    def _drop(self, kind: ImageKind) -> None:
        if kind is ImageKind.COLOR:
            self._feed.drop_color()
        else:
            self._feed.drop_depth()

    def _offer(self, kind: ImageKind, data: bytes) -> None:
        # Before its lens is known nobody can read an image. By topics: what a tap said of this
        # camera before is of depth that is not registered.
        if not self._calibrated:
            return
        with self._more:
            if self._closed:
                return
            room = len(self._waiting) < WAITING
            if room:
                self._waiting.append((kind, data))
                self._more.notify()
        if not room:
            self._drop(kind)

    def _work(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                kind, data = self._waiting.popleft()
            try:
                self._use(kind, data)
            except MvistaError as error:
                self._drop(kind)
                self._refuse(kind, error)
