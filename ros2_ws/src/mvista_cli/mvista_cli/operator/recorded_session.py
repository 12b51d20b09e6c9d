"""A calibration session from an episode: the same collecting as live, in the episode's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mvista_calibration.session.guide import Coverage
from mvista_calibration_ros.collector import Collected, Collector, Guidance, Tell
from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.capture import Capture
from mvista_core.errors import CalibrationError, ConfigError
from mvista_core.timing import ManualClock
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.recorded_cameras import captures, recorded_cameras
from mvista_ros.convert import optical_frame
from mvista_ros.convert.image_bytes import image_to_bytes


class _RecordingOverError(Exception):
    """Somebody waits for frames, and there are none left."""


class RecordedTime(ManualClock):
    """Waiting is what makes a recording go on: frames reach `buffer` as their stamps are passed."""

    def __init__(self, shots: Iterator[Capture], cameras: Sequence[str]) -> None:
        self._shots = shots
        self._next = next(shots, None)
        super().__init__(self._next.stamp_ns - 1 if self._next is not None else 0)
        self.buffer = FrameBuffer(tuple(cameras), self)

    def sleep_until(self, monotonic_ns: int) -> None:
        """Pass every frame up to then; raises when none is left."""
        if self._next is None:
            raise _RecordingOverError
        while self._next is not None and self._next.stamp_ns <= monotonic_ns:
            super().sleep_until(self._next.stamp_ns)
            self._pass(self._next)
            self._next = next(self._shots, None)
        super().sleep_until(monotonic_ns)

    def _pass(self, shot: Capture) -> None:
        name, frame_id = shot.camera, optical_frame(shot.camera)
        self.buffer.add_info(name, shot.intrinsics)
        color = image_to_bytes(shot.pixels(), "rgb8", shot.stamp_ns, frame_id)
        self.buffer.add_color(name, color)
        depth = image_to_bytes(shot.registered_depth_mm(), "16UC1", shot.stamp_ns, frame_id)
        self.buffer.add_depth(name, depth)


def collect_recording(
    episode: Path, folder: Path, settings: CalibrationParameters, shots: int, tell: Tell
) -> Collected:
    """Record a session into `folder` from the images of an episode.

    Ends when coverage is enough, `shots` (> 0) are taken, or the episode is over.

    Raises:
        EpisodeError: no episode, or it is torn. ConfigError: it lacks a camera.
        CalibrationError: none of its frames will do.
    """
    reader = EpisodeReader(episode)
    names = reader.manifest.cameras
    missing = [name for name in settings.cameras if name not in names]
    if missing:
        raise ConfigError(
            f"{episode} has no {missing}; it has {list(names)}: name them by --cameras"
        )
    if settings.board_on_gripper:
        raise ConfigError("no arm is read from an episode: give --no-arm")
    cameras = recorded_cameras(reader, settings.cameras)
    wanted = {name: frozenset(camera.color_ns.tolist()) for name, camera in cameras.items()}
    time = RecordedTime(captures(reader, cameras, wanted), settings.cameras)
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
                f"{episode} is over and no shot was accepted: the board must be in sight and "
                f"stand still for {settings.still_s:g} s and {settings.depth_frames} frames"
            ) from None
        return Collected(folder, last[0])
