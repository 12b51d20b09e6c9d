"""A recording behind the `FrameSource` port, in the time of the clock it is given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from mvista_cameras.recording import RecordedCamera
from mvista_cameras.records import Shot
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
        if not speed > 0:
            raise ConfigError(f"replay speed is {speed}; allowed: above 0")
        self._cameras = {camera.name: camera for camera in cameras}
        self._stamps = {c.name: [frame.stamp_ns for frame in c.frames] for c in cameras}
        self._clock, self._speed = clock, speed
        self._loop, self._restamp = loop, restamp
        self._first_ns = min(stamps[0] for stamps in self._stamps.values())
        last_ns = max(stamps[-1] for stamps in self._stamps.values())
        longest = max(len(stamps) for stamps in self._stamps.values())
        self._round_ns = last_ns - self._first_ns
        self._round_ns += self._round_ns // (longest - 1) if longest > 1 else 10**9
        self._started_ns = clock.monotonic_ns()
        self._kept: dict[str, tuple[int, CameraFrame]] = {}

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
        played_ns = round((self._clock.monotonic_ns() - self._started_ns) * self._speed)
        rounds, within_ns = divmod(played_ns, self._round_ns)
        stamps = self._stamps[camera]
        if not self._loop and rounds:
            return len(stamps) - 1
        index = bisect_right(stamps, self._first_ns + within_ns) - 1 + rounds * len(stamps)
        return index if index >= 0 else None

    def shot(self, camera: str, position: int) -> Shot:
        """The frame at a position, stamped as asked for."""
        recorded = self._cameras[camera]
        shot = recorded.shot(position % len(recorded.frames))
        return replace(shot, stamp_ns=self._stamp_ns(camera, position))

    @property
    def finished(self) -> bool:
        """Whether every frame was played; never, with `loop`."""
        played_ns = (self._clock.monotonic_ns() - self._started_ns) * self._speed
        return not self._loop and played_ns >= self._round_ns

    def _stamp_ns(self, camera: str, position: int) -> int:
        stamps = self._stamps[camera]
        rounds, index = divmod(position, len(stamps))
        if not self._restamp:
            return stamps[index]
        played_ns = stamps[index] - self._first_ns + rounds * self._round_ns
        # Where the wall clock is now, not where it was at the start: it may have been set since.
        ahead_ns = self._clock.now_ns() - self._clock.monotonic_ns()
        return self._started_ns + ahead_ns + round(played_ns / self._speed)
