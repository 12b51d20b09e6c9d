"""How the streams do that are to be recorded: there, at their rate, now, of the right size."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum

from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_recorder.layout import Topic

WINDOW_S = 2.0
"""Rates are of so long."""
LEAST_SHARE = 0.9
"""Of its rate; a stream below is slow."""
STALE_S, STALE_PERIODS = 0.5, 3.0
"""A stream that is silent for longer than both has stopped."""
NEWEST = 16


@dataclass(frozen=True)
class StreamPlan:
    """A stream that is wanted. `rate_hz` 0: it comes when something happens, and is not missed.

    `camera` and `sizes_px` (width, height), those that the rig knows, are of images.
    """

    topic: Topic
    rate_hz: float = 0.0
    camera: str = ""
    sizes_px: tuple[tuple[int, int], ...] = ()


class StreamTrouble(Enum):
    """Why a stream is not in order."""

    MISSING = "missing"
    SILENT = "silent"
    SLOW = "slow"
    SIZE = "size"
    LENS = "lens"


@dataclass(frozen=True)
class StreamState:
    """What the operator sees of a stream. `trouble` None is in order; `words` say what it is."""

    topic: str
    count: int
    rate_hz: float
    wanted_hz: float
    age_s: float | None
    dropped: int
    skew_ms: float | None
    trouble: StreamTrouble | None
    words: str

    @property
    def absent(self) -> bool:
        """Whether nothing comes of it."""
        return self.trouble in (StreamTrouble.MISSING, StreamTrouble.SILENT)


class StreamWatch:
    """Hears of every message of one stream. Thread-safe."""

    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        self._arrived: deque[int] = deque()
        self._captured: deque[int] = deque(maxlen=NEWEST)
        self._size: tuple[int, int] | None = None
        self._recorded = False
        self._first_size: tuple[int, int] | None = None
        self._other_size: tuple[int, int] | None = None
        self._count = self._dropped = 0
        self._lens_fault = ""

    def hear(self, now_ns: int, capture_ns: int, size_px: tuple[int, int] | None = None) -> None:
        """One message came; `now_ns` is steady time."""
        with self._lock:
            self._count += 1
            self._captured.append(capture_ns)
            if size_px is not None:
                self._measure(size_px)
            self._arrived.append(now_ns)
            while now_ns - self._arrived[0] > seconds_to_ns(WINDOW_S):
                self._arrived.popleft()

    def drop(self, count: int) -> None:
        """So many were lost on the way here, or had to be dropped here."""
        with self._lock:
            self._dropped += count

    def blame(self, words: str) -> None:
        """What its lens has against it; "" nothing."""
        with self._lock:
            self._lens_fault = words

    def begin(self) -> None:
        """An episode begins: count anew, and hold its images to the size of the first."""
        with self._lock:
            self._count = self._dropped = 0
            self._recorded, self._first_size, self._other_size = True, None, None

    def end(self) -> None:
        """The episode is over: the next one may have another size."""
        with self._lock:
            self._recorded, self._other_size = False, None

    def captured(self) -> tuple[int, ...]:
        """The newest capture stamps."""
        with self._lock:
            return tuple(self._captured)

    def state(self, now_ns: int, reference: tuple[int, ...] = ()) -> StreamState:
        """`reference`: capture stamps of the stream that the skew is told against."""
        with self._lock:
            rate_hz, age_s = self._rate_hz(now_ns), self._age_s(now_ns)
            trouble, words = self._trouble(rate_hz, age_s)
            return StreamState(
                self.plan.topic.name,
                self._count,
                rate_hz,
                self.plan.rate_hz,
                age_s,
                self._dropped,
                self._skew_ms(reference),
                trouble,
                words,
            )

    def _measure(self, size_px: tuple[int, int]) -> None:
        self._size = size_px
        if not self._recorded:
            return
        self._first_size = self._first_size or size_px
        # Kept: one image between two looks would pass unseen.
        if size_px != self._first_size:
            self._other_size = size_px

    def _rate_hz(self, now_ns: int) -> float:
        # Again, as `hear` lets go of old ones only while messages come.
        recent = [at for at in self._arrived if now_ns - at <= seconds_to_ns(WINDOW_S)]
        if len(recent) < 2:
            return 0.0
        # By intervals: messages within a window would be one more or less by where it begins.
        return (len(recent) - 1) / max(ns_to_seconds(recent[-1] - recent[0]), 1e-9)

    def _age_s(self, now_ns: int) -> float | None:
        return ns_to_seconds(now_ns - self._arrived[-1]) if self._arrived else None

    def _skew_ms(self, reference: tuple[int, ...]) -> float | None:
        if not reference or not self._captured:
            return None
        # The newest may still lack its counterpart: judge one that has had the time.
        stamp = self._captured[len(self._captured) // 2]
        return min((stamp - other for other in reference), key=abs) / 1e6

    def _trouble(self, rate_hz: float, age_s: float | None) -> tuple[StreamTrouble | None, str]:
        wanted_hz, size, known = self.plan.rate_hz, self._size, self.plan.sizes_px
        # Size and lens first: what they spoil cannot be used, whatever the pace.
        if size is not None and known and size not in known:
            listed = ", ".join(f"{width}x{height}" for width, height in known)
            return StreamTrouble.SIZE, f"is {size[0]}x{size[1]}, the rig has {listed}"
        # Also to a size that the rig knows: an episode is read by one lens for each camera.
        if (other := self._other_size) is not None and (first := self._first_size) is not None:
            began, came = f"{first[0]}x{first[1]}", f"{other[0]}x{other[1]}"
            return StreamTrouble.SIZE, f"began as {began} in this episode and came as {came}"
        if self._lens_fault:
            return StreamTrouble.LENS, self._lens_fault
        if not wanted_hz:
            return None, ""
        if age_s is None:
            return StreamTrouble.MISSING, f"is missing; {wanted_hz:g} Hz are wanted"
        if age_s > max(STALE_S, STALE_PERIODS / wanted_hz):
            return StreamTrouble.SILENT, f"has been silent for {age_s:.1f} s"
        if rate_hz < LEAST_SHARE * wanted_hz:
            said = f"comes at {rate_hz:.1f} Hz; {wanted_hz:g} Hz are wanted"
            return StreamTrouble.SLOW, said
        return None, ""
