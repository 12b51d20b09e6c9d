"""What everybody else does with the same frames: decoded, registered, dumped as `.pkl`."""

from __future__ import annotations

import os
import pickle
import resource
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.recorded_cameras import captures, recorded_cameras

MOST_CAPTURES = 240
"""Four seconds of four cameras: each costs the same."""


@dataclass(frozen=True)
class PickleCost:
    """Processor time and bytes of one capture, both images."""

    captures: int
    cpu_ms: float
    bytes: float

    def cores(self, captures_a_second: float) -> float:
        """What so many captures a second take."""
        return self.cpu_ms * captures_a_second / 1e3

    def mb_a_second(self, captures_a_second: float) -> float:
        """What so many write."""
        return self.bytes * captures_a_second / 1e6


def pickled(reader: EpisodeReader, scratch: Path) -> PickleCost:
    """Dump captures of an episode to a file, which is removed again.

    Raises:
        EpisodeError: the episode is torn.
    """
    cameras = recorded_cameras(reader)
    wanted = {
        name: frozenset(camera.color_ns[: MOST_CAPTURES // len(cameras)].tolist())
        for name, camera in cameras.items()
    }
    shots = list(islice(captures(reader, cameras, wanted), MOST_CAPTURES))
    path = scratch / "frames.pkl"
    with path.open("wb") as file:
        before_s = _used_s()
        for shot in shots:
            frame = {
                "stamp_ns": shot.stamp_ns,
                "color": shot.pixels(),
                "depth": shot.registered_depth_mm(),
            }
            pickle.dump(frame, file)
        file.flush()
        os.fsync(file.fileno())
        used_s, size = _used_s() - before_s, file.tell()
    path.unlink()
    return PickleCost(len(shots), 1e3 * used_s / len(shots), size / len(shots))


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
