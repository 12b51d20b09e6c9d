"""Pictures made beforehand, delivered on time: a camera that costs nothing but its traffic."""

from __future__ import annotations

import numpy as np

from mvista_cameras.emulator.camera import scaled_to
from mvista_cameras.emulator.scene import FEMTO_BOLT_COLOR, Scene, moving_pictures
from mvista_cameras.records import Condition, SourceReport
from mvista_cameras.settings import CameraSettings
from mvista_core.capture import Capture
from mvista_core.ports import Clock
from mvista_core.records import MM_PER_M
from mvista_core.registration import StreamCalibration
from mvista_core.timing import NS_PER_S, read_clocks, seconds_to_ns
from mvista_ros.convert.jpeg import encode_jpeg

PICTURES = 4


class SyntheticCamera:
    """A `CaptureSource` of any size and rate: a wall and a ball of known depth, a moving bar.

    Captures lie on whole multiples of the period since the epoch, moved by `index` quarter
    periods, so cameras of one machine do not all send at the same instant. Late captures are
    skipped, never sent late; `skipped` counts them.
    """

    def __init__(self, camera: str, settings: CameraSettings, clock: Clock) -> None:
        self.camera, self._clock = camera, clock
        self._lens = scaled_to(FEMTO_BOLT_COLOR, settings.width_px, settings.height_px)
        scene = Scene(tint=settings.index + 1)
        # Each as pixels and as JPEG, made beforehand: whoever reads which, nothing is computed.
        pictures = moving_pictures(scene.color(self._lens), PICTURES)
        self._pictures = [(encode_jpeg(each), each) for each in pictures]
        self._calibration = StreamCalibration.aligned(self._lens)
        depth_mm = np.rint(scene.depth_m(self._lens) * MM_PER_M)
        self._depth_mm = np.where(depth_mm < 2**16, depth_mm, 0).astype(np.uint16)
        self._period_ns = NS_PER_S // settings.rate_hz
        self._phase_ns = self._period_ns * (settings.index % 4) // 4
        opened_ns = clock.monotonic_ns() + seconds_to_ns(settings.start_delay_s)
        monotonic_ns, wall_ns = read_clocks(clock)
        self._wall_offset_ns = wall_ns - monotonic_ns
        self._next = self._after(opened_ns)
        self.shots = self.skipped = 0
        self._sequence = -1
        self._wanted = True

    def next(self, timeout_s: float) -> Capture | None:
        """Sleeps until the next capture is due, at most `timeout_s`."""
        due_ns = self._due_ns(self._next)
        deadline_ns = self._clock.monotonic_ns() + seconds_to_ns(timeout_s)
        if not self._wanted:
            self._clock.sleep_until(deadline_ns)
            # What nobody wanted was not skipped: the sequence goes on without a gap.
            self._next = max(self._next, self._after(deadline_ns))
            return None
        self._clock.sleep_until(min(due_ns, deadline_ns))
        now_ns = self._clock.monotonic_ns()
        if now_ns < due_ns:
            return None
        newest = max(self._after(now_ns) - 1, self._next)
        skipped = newest - self._next
        self.skipped += skipped
        self._sequence += skipped + 1
        self._next = newest + 1
        self.shots += 1
        return self._capture(newest)

    def skip(self, reason: str) -> None:
        """Nothing is decoded here."""

    def stream(self, wanted: bool) -> None:
        """Whether pictures are delivered."""
        self._wanted = wanted

    def report(self) -> SourceReport:
        """What was delivered, and what was skipped because the machine was late."""
        values = (("shots", str(self.shots)), ("captures skipped", str(self.skipped)))
        if not self._wanted:
            return SourceReport(Condition.READY, "synthetic pictures, not delivered", values)
        return SourceReport(Condition.OK, "synthetic pictures", values)

    def close(self) -> None:
        """Nothing to let go of."""

    def _capture(self, index: int) -> Capture:
        jpeg, pixels = self._pictures[index % PICTURES]
        # On the wall clock as it is now: it may have been set since the camera was opened.
        monotonic_ns, wall_ns = read_clocks(self._clock)
        stamp_ns = self._due_ns(index) + wall_ns - monotonic_ns
        return Capture(
            self.camera,
            self._sequence,
            stamp_ns,
            stamp_ns,
            jpeg,
            self._depth_mm,
            self._calibration,
            lambda _: pixels,
        )

    def _due_ns(self, index: int) -> int:
        return index * self._period_ns + self._phase_ns - self._wall_offset_ns

    def _after(self, monotonic_ns: int) -> int:
        """The first capture after an instant."""
        wall_ns = monotonic_ns + self._wall_offset_ns
        return (wall_ns - self._phase_ns) // self._period_ns + 1
