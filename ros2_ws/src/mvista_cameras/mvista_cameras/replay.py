"""A recording behind the `FrameSource` port, in the time of the clock it is given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from mvista_cameras.recording import RecordedCamera
from mvista_core.capture import Capture
from mvista_core.errors import ConfigError, RigError
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame


class Replay:
    """Plays the cameras of a recording together, from its first stamp on.

    With `loop` it begins again a mean period after its last frame; without, it stays on the last
    frames. `restamp` moves the stamps to now (the distances stay), which consumers that ask for
    fresh images need; without it they are the recorded ones.
    """

    def __init__(
        self,
        cameras: Sequence[RecordedCamera],
        clock: Clock,
        speed: float = 1.0,
        loop: bool = True,
        restamp: bool = True,
    ) -> None:
        self._cameras = {camera.name: camera for camera in cameras}
        self._stamps = {c.name: [frame.stamp_ns for frame in c.frames] for c in cameras}
        self._clock, self._restamp = clock, restamp
        self._first_ns = min(stamps[0] for stamps in self._stamps.values())
        last_ns = max(stamps[-1] for stamps in self._stamps.values())
        longest = max(len(stamps) for stamps in self._stamps.values())
        self._round_ns = last_ns - self._first_ns
        self._round_ns += self._round_ns // (longest - 1) if longest > 1 else 10**9
        self._since_ns = clock.monotonic_ns()
        self._played_before_ns = 0
        self._end_ns: int | None = None
        self._speed = self._speed_before = speed
        self.play(speed, loop)
        self._kept: dict[str, tuple[int, CameraFrame]] = {}

    def play(self, speed: float, loop: bool) -> None:
        """Go on from here at another speed, or otherwise at the end.

        Raises:
            ConfigError: the speed is not above 0.
        """
        if not speed > 0:
            raise ConfigError(f"replay speed is {speed}; allowed: above 0")
        now_ns = self._clock.monotonic_ns()
        self._played_before_ns, self._since_ns = self._played_ns(now_ns), now_ns
        self._speed, self._speed_before = speed, self._speed
        if loop:
            self._end_ns = None
        elif self._end_ns is None:
            self._end_ns = (self._played_before_ns // self._round_ns + 1) * self._round_ns

    def cameras(self) -> Sequence[str]:
        """Names of the cameras, in the recording's order."""
        return tuple(self._cameras)

    def latest(self, camera: str) -> CameraFrame | None:
        """The newest frame of one camera; None before its first.

        Raises:
            RigError: no such camera.
        """
        now = self.position(camera)
        if now is None:
            return None
        kept = self._kept.get(camera)
        if kept is None or kept[0] != now:
            kept = self._kept[camera] = now, self.shot(camera, now).frame()
        return kept[1]

    def position(self, camera: str) -> int | None:
        """Number of the frame that is newest now, counting on through the rounds."""
        if camera not in self._cameras:
            raise RigError(f"no camera '{camera}'; there are {list(self._cameras)}")
        played_ns, stamps = self._played_ns(self._clock.monotonic_ns()), self._stamps[camera]
        if self._end_ns is not None and played_ns >= self._end_ns:
            return self._end_ns // self._round_ns * len(stamps) - 1
        rounds, within_ns = divmod(played_ns, self._round_ns)
        index = bisect_right(stamps, self._first_ns + within_ns) - 1 + rounds * len(stamps)
        return index if index >= 0 else None

    def shot(self, camera: str, position: int) -> Capture:
        """The frame at a position, stamped as asked for."""
        recorded = self._cameras[camera]
        shot = recorded.shot(position % len(recorded.frames))
        stamp_ns = self._stamp_ns(camera, position)
        return replace(shot, stamp_ns=stamp_ns, depth_stamp_ns=stamp_ns, sequence=position)

    @property
    def finished(self) -> bool:
        """Whether every frame was played; never, with `loop`."""
        played_ns = self._played_ns(self._clock.monotonic_ns())
        return self._end_ns is not None and played_ns >= self._end_ns

    def _played_ns(self, now_ns: int) -> int:
        """How much of the recording has been played, through all rounds."""
        return self._played_before_ns + round((now_ns - self._since_ns) * self._speed)

    def _stamp_ns(self, camera: str, position: int) -> int:
        stamps = self._stamps[camera]
        rounds, index = divmod(position, len(stamps))
        if not self._restamp:
            return stamps[index]
        played_ns = stamps[index] - self._first_ns + rounds * self._round_ns
        # Where the wall clock is now, not where it was at the start: it may have been set since.
        ahead_ns = self._clock.now_ns() - self._clock.monotonic_ns()
        after_ns = played_ns - self._played_before_ns
        # A frame that was due just before the speed changed was due at the old one.
        speed = self._speed if after_ns >= 0 else self._speed_before
        return self._since_ns + ahead_ns + round(after_ns / speed)
