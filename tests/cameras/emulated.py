"""An emulated Femto Bolt on a clock that moves only when it is slept on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mvista_cameras.emulator.camera import EmulatedCamera
from mvista_cameras.emulator.sdk import EmulatedSdk
from mvista_cameras.emulator.truth import true_capture_ns
from mvista_cameras.femto_bolt import FemtoBolt
from mvista_cameras.records import Stream
from mvista_cameras.settings import CameraSettings
from mvista_cameras.sources import OrbbecOpener
from mvista_core.capture import Capture
from mvista_core.timing import ManualClock, seconds_to_ns

START_NS = 1_700_000_000 * 10**9


class HostClock(ManualClock):
    """A manual clock whose wall time can be set apart from its monotonic time."""

    def __init__(self) -> None:
        super().__init__(10**15)
        self.wall_ahead_ns = START_NS - 10**15

    def now_ns(self) -> int:
        return super().now_ns() + self.wall_ahead_ns

    def monotonic_ns(self) -> int:
        return super().now_ns()

    def step(self, seconds: float) -> None:
        """Set the wall clock, as NTP does."""
        self.wall_ahead_ns += seconds_to_ns(seconds)


@dataclass
class Taken:
    """A capture and the monotonic time at which it was had."""

    capture: Capture
    monotonic_ns: int


@dataclass
class Rig:
    """One camera, its driver and the clock they share."""

    clock: HostClock
    body: EmulatedCamera
    source: FemtoBolt
    taken: list[Taken] = field(default_factory=list)

    def run(self, seconds: float) -> list[Taken]:
        """Take captures for so long; returns those of this call."""
        until_ns = self.clock.monotonic_ns() + seconds_to_ns(seconds)
        new: list[Taken] = []
        while self.clock.monotonic_ns() < until_ns:
            capture = self.source.next(0.05)
            if capture is not None:
                new.append(Taken(capture, self.clock.monotonic_ns()))
        self.taken += new
        return new

    def values(self) -> dict[str, str]:
        """What the driver reports."""
        return dict(self.source.report().values)

    def stamp_errors_s(self, taken: list[Taken]) -> np.ndarray:
        """Stamp minus true capture, as the wall clock stood when the image was handed over."""
        errors_ns = [t.capture.stamp_ns - true_capture_ns(t.capture.jpeg) for t in taken]
        return np.array(errors_ns) / 1e9


SMALL: dict[str, Any] = {
    "width_px": 320,
    "height_px": 180,
    "depth_width_px": 160,
    "depth_height_px": 144,
}


def rig(body: dict[str, Any] | None = None, clock: HostClock | None = None, **settings: Any) -> Rig:
    """A small, quick camera: 320x180 colour from 160x144 depth unless asked otherwise."""
    clock = clock or HostClock()
    camera = SmallCamera("CL8F25300A1", clock, **(body or {}))
    chosen = CameraSettings(backend="emulated", **{**SMALL, **settings})
    opener = OrbbecOpener(EmulatedSdk([camera]), chosen)
    return Rig(clock, camera, FemtoBolt("cam0", chosen, clock, opener))


class SmallCamera(EmulatedCamera):
    """A Femto Bolt that also offers sizes at which a test is quick."""

    def profiles(self, stream: Stream) -> list[Any]:
        offers = super().profiles(stream)
        size = (160, 144) if stream is Stream.DEPTH else (320, 180)
        like = {(o.rate_hz, o.pixel_format) for o in offers}
        return offers + [type(offers[0])(*size, rate, kind) for rate, kind in sorted(like)]
