"""An episode in the order and at the pace in which it was captured. No ROS here."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_core.timing import read_clocks
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.scan import RecordedMessage

REORDERED_NS = 1_000_000_000
"""Messages that were heard so far apart are in the order of their capture."""
# The first stamps of a round lie behind the last of the one before: stamps only rise.
BETWEEN_ROUNDS_NS = 100_000_000
SPEEDS = (0.05, 20.0)
"""Slowest and fastest replay that a person may ask for; 1 is as recorded."""


@dataclass(frozen=True)
class DueMessage:
    """A message that is due now; its header, where it has one, says `stamp_ns`."""

    topic: str
    type: str
    capture_ns: int
    stamp_ns: int
    data: bytes


class EpisodePlayer:
    """Plays from the first capture on; with `loop` again and again.

    `restamp` moves stamps to now, distances kept. `topics`: only these; the pace is the episode's.
    """

    def __init__(
        self,
        reader: EpisodeReader,
        clock: Clock,
        speed: float = 1.0,
        restamp: bool = True,
        loop: bool = False,
        topics: Collection[str] | None = None,
    ) -> None:
        """Raises ConfigError: the speed is not above 0. EpisodeError: the episode is torn."""
        self._reader, self._clock, self._restamp, self._topics = reader, clock, restamp, topics
        self._speed, self._loop = speed, loop
        self._since_ns, self._played_before_ns = clock.monotonic_ns(), 0
        self._round_ns = self._length_ns = 0
        self._messages = self._of_a_round()
        self._next = next(self._messages, None)
        self.play(speed, loop)
        self._first_ns = self._next.capture_ns if self._next is not None else 0

    def play(self, speed: float, loop: bool) -> None:
        """Go on from here at another speed, or otherwise at the end; what has ended begins again.

        Raises:
            ConfigError: the speed is not above 0.
        """
        if not speed > 0:
            raise ConfigError(f"replay speed is {speed}; allowed: above 0")
        now_ns = self._clock.monotonic_ns()
        self._played_before_ns, self._since_ns = self._played_ns(now_ns), now_ns
        if loop and self.finished:
            # The next round is of now, however long ago the last one ended.
            self._round_ns = max(self._round_ns, self._played_before_ns - self._length_ns)
        self._speed, self._loop = speed, loop

    @property
    def finished(self) -> bool:
        """Whether all has been played; never, with `loop`, unless there is nothing to play."""
        return self._next is None and not (self._loop and self._length_ns)

    def due(self) -> Iterator[DueMessage]:
        """What has become due since the last call, in the order of capture.

        Raises:
            EpisodeError: the episode cannot be read from here on.
        """
        played_ns = self._played_ns(self._clock.monotonic_ns())
        while not self.finished:
            if self._next is None:
                self._round_ns += self._length_ns
                self._messages = self._of_a_round()
                if (again := next(self._messages, None)) is None:
                    return
                self._next = again
            at_ns = self._round_ns + self._next.capture_ns - self._first_ns
            if at_ns > played_ns:
                return
            # So far: how long an episode is shows only at its end, and it is read once.
            self._length_ns = self._next.capture_ns - self._first_ns + BETWEEN_ROUNDS_NS
            message, self._next = self._next, next(self._messages, None)
            if self._topics is None or message.topic in self._topics:
                yield self._stamped(message, at_ns)

    def _played_ns(self, now_ns: int) -> int:
        """How much of the episode has been played, through all rounds."""
        return self._played_before_ns + round((now_ns - self._since_ns) * self._speed)

    def _stamped(self, message: RecordedMessage, at_ns: int) -> DueMessage:
        stamp_ns, data = message.capture_ns, message.data
        if self._restamp:
            # Where the wall clock is now, not where it was at the start: it may have been set.
            monotonic_ns, wall_ns = read_clocks(self._clock)
            after_ns = round((at_ns - self._played_before_ns) / self._speed)
            stamp_ns = self._since_ns + wall_ns - monotonic_ns + after_ns
            if schemas.has_header(message.type):
                data = schemas.restamped(data, stamp_ns)
        return DueMessage(message.topic, message.type, message.capture_ns, stamp_ns, data)

    def _of_a_round(self) -> Iterator[RecordedMessage]:
        return _by_capture(self._reader.messages())


def _by_capture(messages: Iterator[RecordedMessage]) -> Iterator[RecordedMessage]:
    """In the order of capture, holding back a second of them."""
    waiting: list[tuple[int, int, RecordedMessage]] = []
    for number, message in enumerate(messages):
        # The number leaves equal stamps in the order they were heard; messages have no order.
        heapq.heappush(waiting, (message.capture_ns, number, message))
        while message.log_ns - waiting[0][0] > REORDERED_NS:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
