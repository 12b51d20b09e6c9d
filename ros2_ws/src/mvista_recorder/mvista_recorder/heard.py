"""Messages that were heard and wait for the disk, in memory of bounded size."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from mvista_recorder.layout import Topic


@dataclass(frozen=True)
class HeardMessage:
    """One serialised message: heard at `log_ns`, captured at `capture_ns` (both wall time).

    `picture` is its JPEG, for the contact sheet; `residual_ns` see `Recorder.hear`.
    """

    topic: Topic
    log_ns: int
    capture_ns: int
    data: bytes
    sequence: int
    camera: str
    picture: bytes
    residual_ns: int | None

    @property
    def size_bytes(self) -> int:
        """What it takes: its JPEG lies in memory twice, by itself and within `data`."""
        return len(self.data) + len(self.picture)


class HeardQueue:
    """Filled from any thread, emptied by one at a time. Nobody waits."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[HeardMessage] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: HeardMessage) -> bool:
        """Whether there was room for it; it is not kept where there was none."""
        with self._lock:
            if self._bytes + message.size_bytes > self._most_bytes:
                return False
            self._waiting.append(message)
            self._bytes += message.size_bytes
            return True

    def take(self) -> HeardMessage:
        """The oldest; ask only while there is one."""
        with self._lock:
            message = self._waiting.popleft()
            self._bytes -= message.size_bytes
            return message

    def clear(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._waiting.clear()
            self._bytes = 0
