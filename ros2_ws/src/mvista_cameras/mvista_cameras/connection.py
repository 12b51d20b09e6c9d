"""When to open a camera, when to give it up, when to try again. Knows no device; only time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mvista_core.timing import ns_to_seconds, seconds_to_ns

SETTLED_S = 10.0
"""After so long with images, earlier failures are forgotten; a camera that flaps gets nowhere."""


class Phase(Enum):
    """Where the connection stands."""

    WAITING = "waiting to open"
    READY = "opened and checked, not streaming"
    STARTING = "opened, no image yet"
    STREAMING = "streaming"
    LEFT_ALONE = "left alone"


class Step(Enum):
    """What the caller does next."""

    WAIT = "wait"
    OPEN = "open"
    START = "start"
    READ = "read"
    STOP = "stop"
    CLOSE = "close"
    LOOK = "look"
    """Is the camera still listed? Opens nothing; `vanished` if it is not."""


@dataclass(frozen=True)
class ConnectionTimes:
    """Seconds. Retries wait `retry_s`, twice as long each time, at most `longest_retry_s`.

    After `most_starts` starts in a row that did not lead to steady images the camera is left alone.
    """

    start_delay_s: float
    first_image_s: float
    silence_s: float
    retry_s: float
    longest_retry_s: float
    most_starts: int = 5


class Connection:
    """`next(now)` says what to do; `opened`, `heard`, `image` and `failed` tell what came of it.

    A stream counts as alive while images of it come, usable or not: starting anew helps against
    silence only, and a Femto Bolt needs its power switched after six to eight starts in vain.
    """

    def __init__(
        self, times: ConnectionTimes, now_ns: int, streams: tuple[str, ...] = ("",)
    ) -> None:
        self._times, self._streams = times, streams
        self._next_ns = now_ns + seconds_to_ns(times.start_delay_s)
        self._heard_ns = dict.fromkeys(streams, now_ns)
        self._image_ns = self._steady_since_ns = now_ns
        self._tries = 0
        self.starts = 0
        self.phase = Phase.WAITING
        self.reason = ""
        self.losses = 0

    def next(self, now_ns: int, wanted: bool = True) -> Step:
        """The step at this monotonic instant; `wanted`: images are. After CLOSE call `failed`."""
        if self.phase is Phase.READY and wanted:
            return Step.START
        if self.phase in (Phase.WAITING, Phase.LEFT_ALONE, Phase.READY):
            due = Step.OPEN if self.phase is Phase.WAITING else Step.LOOK
            return due if now_ns >= self._next_ns else Step.WAIT
        if not wanted:
            return Step.STOP
        return Step.CLOSE if self._silent(now_ns) else Step.READ

    def ready(self, now_ns: int) -> None:
        """The device is open and does not stream; whether it is still there is looked at."""
        self.phase, self.reason = Phase.READY, ""
        self._next_ns = now_ns + seconds_to_ns(self._times.longest_retry_s)

    def started(self) -> None:
        """The streams were asked to start, whatever comes of it."""
        self.starts += 1

    def opened(self, now_ns: int) -> None:
        """The device streams, or so it says."""
        self.phase = Phase.STARTING
        self._heard_ns = dict.fromkeys(self._streams, now_ns)
        self._image_ns = now_ns

    def heard(self, stream: str, now_ns: int) -> None:
        """An image of a stream came, whole or not: that stream is not silent."""
        self._heard_ns[stream] = now_ns

    def image(self, now_ns: int) -> None:
        """A usable image: the camera lives. When that lasts, earlier failures are forgotten."""
        if self.phase is not Phase.STREAMING:
            self._steady_since_ns = now_ns
        self.phase, self.reason, self._image_ns = Phase.STREAMING, "", now_ns
        self._heard_ns = dict.fromkeys(self._streams, now_ns)
        if now_ns - self._steady_since_ns >= seconds_to_ns(SETTLED_S):
            self._tries = self.starts = 0

    def unusable_s(self, now_ns: int) -> float:
        """How long images have come of which none was usable; 0 while that is no trouble."""
        if self.phase not in (Phase.STARTING, Phase.STREAMING):
            return 0.0
        without_ns, allowed_ns = now_ns - self._image_ns, self._allowed_ns()
        # Half of it: a stream that has paused for longer may be falling silent; that is told apart.
        alive = all(now_ns - at_ns <= allowed_ns // 2 for at_ns in self._heard_ns.values())
        return ns_to_seconds(without_ns) if alive and without_ns > allowed_ns else 0.0

    def silence(self, now_ns: int) -> str:
        """The sentence for a CLOSE that nothing but silence asked for."""
        silent = self._silent(now_ns) or self._streams
        waited_s = ns_to_seconds(now_ns - min(self._heard_ns[stream] for stream in silent))
        first = "" if self.phase is Phase.STREAMING else "first "
        if len(silent) == len(self._streams):
            return (
                f"no {first}image for {waited_s:.1f} s: check the 12 V supply and the USB cable; a "
                "secondary may lack its trigger"
            )
        alive = ", ".join(stream for stream in self._streams if stream not in silent)
        return (
            f"no {first}{silent[0]} image for {waited_s:.1f} s while {alive} comes: depth needs an "
            "OpenGL context on this host (a display or EGL), and the sensor may hang"
        )

    def failed(self, reason: str, now_ns: int) -> None:
        """Opening failed or the device was given up: when to try again is decided here."""
        if self.phase is Phase.STREAMING:
            self.losses += 1
        # The exponent is bounded: a camera that is away for hours would make it outgrow a float.
        backoff_s = min(
            self._times.retry_s * 2 ** min(self._tries, 16), self._times.longest_retry_s
        )
        self._tries += 1
        self.phase, self.reason = Phase.WAITING, reason
        if self.starts >= self._times.most_starts:
            # Looked for at once and often: a supply is off for a few seconds only.
            self.phase, backoff_s = Phase.LEFT_ALONE, self._times.retry_s
            self.reason = (
                f"{reason}; left alone after {self.starts} starts without steady images "
                "(most_starts): switch its 12 V supply off and on, or unplug it; it is opened "
                "again when it is back"
            )
        self._next_ns = now_ns + seconds_to_ns(backoff_s)

    def still_there(self, now_ns: int) -> None:
        """It was looked for and has not been switched off yet."""
        times = self._times
        ready = self.phase is Phase.READY
        self._next_ns = now_ns + seconds_to_ns(times.longest_retry_s if ready else times.retry_s)

    def vanished(self, now_ns: int) -> None:
        """It was switched off: when it comes back it begins with a clean record."""
        self.phase, self.reason, self._tries, self.starts = Phase.WAITING, "unplugged", 0, 0
        self._next_ns = now_ns + seconds_to_ns(self._times.retry_s)

    def wait_s(self, now_ns: int) -> float:
        """Seconds until the next try; 0 when it is due."""
        return max(ns_to_seconds(self._next_ns - now_ns), 0.0)

    def _silent(self, now_ns: int) -> list[str]:
        allowed_ns = self._allowed_ns()
        return [name for name, at_ns in self._heard_ns.items() if now_ns - at_ns > allowed_ns]

    def _allowed_ns(self) -> int:
        starting = self.phase is Phase.STARTING
        return seconds_to_ns(self._times.first_image_s if starting else self._times.silence_s)
