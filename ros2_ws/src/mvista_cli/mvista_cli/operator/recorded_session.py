"""A calibration session from a recording: the same collecting as live, in the recording's time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

from mvista_calibration.session.guide import Coverage
from mvista_calibration_ros.collector import Collected, Collector, Guidance, Tell
from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_cameras.recording import RecordedCamera, load_recording
from mvista_core.errors import CalibrationError, ConfigError
from mvista_core.timing import ManualClock
from mvista_ros.convert import optical_frame
from mvista_ros.convert.image_bytes import image_to_bytes


class _RecordingOverError(Exception):
    """Somebody waits for frames, and there are none left."""


class RecordedTime(ManualClock):
    """Waiting is what makes a recording go on: frames reach `buffer` as their stamps are passed."""

    def __init__(self, cameras: Sequence[RecordedCamera], buffered: Sequence[str]) -> None:
        kept = [camera for camera in cameras if camera.name in buffered]
        super().__init__(min(camera.frames[0].stamp_ns for camera in kept) - 1)
        self.buffer = FrameBuffer(tuple(buffered), self)
        self._cameras = kept
        self._due = [(camera.frames[0].stamp_ns, k, 0) for k, camera in enumerate(kept)]
        heapq.heapify(self._due)

    def sleep_until(self, monotonic_ns: int) -> None:
        """Pass every frame up to then; raises when none is left."""
        if not self._due:
            raise _RecordingOverError
        while self._due and self._due[0][0] <= monotonic_ns:
            stamp_ns, k, index = heapq.heappop(self._due)
            super().sleep_until(stamp_ns)
            self._pass(self._cameras[k], index)
            if index + 1 < len(self._cameras[k].frames):
                following = self._cameras[k].frames[index + 1].stamp_ns
                heapq.heappush(self._due, (following, k, index + 1))
        super().sleep_until(monotonic_ns)

    def _pass(self, camera: RecordedCamera, index: int) -> None:
        shot, frame_id = camera.shot(index), optical_frame(camera.name)
        self.buffer.add_info(camera.name, shot.intrinsics)
        color = image_to_bytes(shot.pixels(), "rgb8", shot.stamp_ns, frame_id)
        self.buffer.add_color(camera.name, color)
        depth = image_to_bytes(shot.registered_depth_mm(), "16UC1", shot.stamp_ns, frame_id)
        self.buffer.add_depth(camera.name, depth)


def collect_recording(
    recording: Path, folder: Path, settings: CalibrationParameters, shots: int, tell: Tell
) -> Collected:
    """Record a session into `folder` from a recording (mvista_cameras) without joints.

    Ends when coverage is enough, `shots` (> 0) are taken, or the recording is over.

    Raises:
        ConfigError: no recording, or it lacks a camera. CalibrationError: none of its frames will
            do.
    """
    cameras = load_recording(recording)
    names = [camera.name for camera in cameras]
    missing = [name for name in settings.cameras if name not in names]
    if missing:
        raise ConfigError(f"{recording} has no {missing}; it has {names}: name them by --cameras")
    if settings.board_on_gripper:
        raise ConfigError("a recording has no joints: give --no-arm")
    time = RecordedTime(cameras, settings.cameras)
    collector = Collector(settings, time.buffer, time)
    last: list[Coverage] = []

    def listen(guidance: Guidance) -> bool:
        last[:] = [guidance.coverage]
        return tell(guidance)

    try:
        return collector.collect(folder, shots, listen)
    except _RecordingOverError:
        if not last or not last[0].shots:
            raise CalibrationError(
                f"{recording} is over and no shot was accepted: the board must be in sight and "
                f"stand still for {settings.still_s:g} s and {settings.depth_frames} frames"
            ) from None
        return Collected(folder, last[0])
