"""When to open a camera, when to give it up, when to try again. Knows no device; only time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mvista_core.timing import ns_to_seconds, seconds_to_ns


class Phase(Enum):
    """Where the connection stands."""

    WAITING = "waiting to open"
    STARTING = "opened, no image yet"
    STREAMING = "streaming"


class Step(Enum):
    """What the caller does next."""

    WAIT = "wait"
    OPEN = "open"
    READ = "read"
    CLOSE = "close"


@dataclass(frozen=True)
class ConnectionTimes:
    """Seconds. Retries wait `retry_s`, twice as long each time, at most `longest_retry_s`."""

    start_delay_s: float
    first_image_s: float
    silence_s: float
    retry_s: float
    longest_retry_s: float


class Connection:
    """`next(now)` says what to do; `opened`, `image` and `failed` tell what came of it."""

    def __init__(self, times: ConnectionTimes, now_ns: int) -> None:
        self._times = times
        self._open_at_ns = now_ns + seconds_to_ns(times.start_delay_s)
        self._since_ns = now_ns
        self._tries = 0
        self.phase = Phase.WAITING
        self.reason = ""
        self.losses = 0

    def next(self, now_ns: int) -> Step:
        """The step at this monotonic instant. After CLOSE call `failed`."""
        if self.phase is Phase.WAITING:
            return Step.OPEN if now_ns >= self._open_at_ns else Step.WAIT
        return Step.CLOSE if now_ns - self._since_ns > self._allowed_ns() else Step.READ

    def opened(self, now_ns: int) -> None:
        """The device streams, or so it says."""
        self.phase, self._since_ns = Phase.STARTING, now_ns

    def image(self, now_ns: int) -> None:
        """An image arrived: the camera lives, and earlier failures are forgotten."""
        self.phase, self._since_ns, self._tries, self.reason = Phase.STREAMING, now_ns, 0, ""

    def silence(self, now_ns: int) -> str:
        """The sentence for a CLOSE that nothing but silence asked for."""
        waited_s = ns_to_seconds(now_ns - self._since_ns)
        first = "no image" if self.phase is Phase.STREAMING else "no first image"
        return (
            f"{first} for {waited_s:.1f} s: check the 12 V supply and the USB cable; a camera that "
            "never gives depth lacks an OpenGL context (display or EGL), a secondary its trigger"
        )

    def failed(self, reason: str, now_ns: int) -> None:
        """Opening failed or the device was given up: when to try again is decided here."""
        if self.phase is Phase.STREAMING:
            self.losses += 1
        backoff_s = self._times.retry_s * 2 ** min(self._tries, 16)
        self._tries += 1
        self.phase, self.reason = Phase.WAITING, reason
        self._open_at_ns = now_ns + seconds_to_ns(min(backoff_s, self._times.longest_retry_s))

    def wait_s(self, now_ns: int) -> float:
        """Seconds until the next try; 0 when it is due."""
        return max(ns_to_seconds(self._open_at_ns - now_ns), 0.0)

    def _allowed_ns(self) -> int:
        times = self._times
        starting = self.phase is Phase.STARTING
        return seconds_to_ns(times.first_image_s if starting else times.silence_s)
