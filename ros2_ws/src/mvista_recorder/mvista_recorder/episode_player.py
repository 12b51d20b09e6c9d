"""An episode in the order and at the pace in which it was captured. No ROS here."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.scan import RecordedMessage

REORDERED_NS = 1_000_000_000
"""Messages that were heard so far apart are in the order of their capture."""


@dataclass(frozen=True)
class DueMessage:
    """A message that is due now; its header, where it has one, says `stamp_ns`."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes


class EpisodePlayer:
    """Plays once, from the first capture on. `restamp` moves stamps to now, distances kept."""

    def __init__(
        self, reader: EpisodeReader, clock: Clock, speed: float = 1.0, restamp: bool = True
    ) -> None:
        """Raises ConfigError: the speed is not above 0. EpisodeError: the episode is torn."""
        if not speed > 0:
            raise ConfigError(f"replay speed is {speed}; allowed: above 0")
        self._clock, self._speed, self._restamp = clock, speed, restamp
        self._messages = _by_capture(reader.messages())
        self._next = next(self._messages, None)
        self._first_ns = self._next.capture_ns if self._next is not None else 0
        self._began_ns, self._began_wall_ns = clock.monotonic_ns(), clock.now_ns()

    @property
    def finished(self) -> bool:
        """Whether all has been played."""
        return self._next is None

    def due(self) -> Iterator[DueMessage]:
        """What has become due since the last call, in the order of capture.

        Raises:
            EpisodeError: the episode cannot be read from here on.
        """
        played_ns = round((self._clock.monotonic_ns() - self._began_ns) * self._speed)
        while self._next is not None and self._next.capture_ns - self._first_ns <= played_ns:
            yield self._stamped(self._next)
            self._next = next(self._messages, None)

    def _stamped(self, message: RecordedMessage) -> DueMessage:
        stamp_ns, data = message.capture_ns, message.data
        if self._restamp:
            after_ns = round((message.capture_ns - self._first_ns) / self._speed)
            stamp_ns = self._began_wall_ns + after_ns
            if schemas.has_header(message.type):
                data = schemas.restamped(data, stamp_ns)
        return DueMessage(message.topic, message.type, stamp_ns, data)


def _by_capture(messages: Iterator[RecordedMessage]) -> Iterator[RecordedMessage]:
    """In the order of capture, holding back a second of them."""
    waiting: list[tuple[int, int, RecordedMessage]] = []
    for number, message in enumerate(messages):
        heapq.heappush(waiting, (message.capture_ns, number, message))
        while message.log_ns - waiting[0][0] > REORDERED_NS:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
