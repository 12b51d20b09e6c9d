"""Cameras in one process behind the `FrameSource` port."""

from __future__ import annotations

from collections.abc import Sequence

from mvista_cameras.ports import CaptureSource
from mvista_core.errors import RigError
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame
from mvista_core.timing import seconds_to_ns

POLL_S = 0.02


class CameraSet:
    """Several `CaptureSource`s as a `FrameSource`; `pump` them to keep their frames fresh."""

    def __init__(self, sources: Sequence[CaptureSource], clock: Clock) -> None:
        self._sources = {source.camera: source for source in sources}
        self._clock = clock
        self._frames: dict[str, CameraFrame] = {}

    def cameras(self) -> Sequence[str]:
        """Names of the cameras, in the order they were given."""
        return tuple(self._sources)

    def latest(self, camera: str) -> CameraFrame | None:
        """The newest frame of one camera, or None before the first.

        Raises:
            RigError: no such camera.
        """
        if camera not in self._sources:
            raise RigError(f"no camera '{camera}'; there are {list(self._sources)}")
        return self._frames.get(camera)

    def pump(self, seconds: float) -> None:
        """Take what the cameras deliver for so long."""
        until_ns = self._clock.monotonic_ns() + seconds_to_ns(seconds)
        while self._clock.monotonic_ns() < until_ns:
            for name, source in self._sources.items():
                shot = source.next(POLL_S)
                if shot is not None:
                    self._frames[name] = shot.frame()

    def close(self) -> None:
        """Let go of every camera."""
        for source in self._sources.values():
            source.close()
