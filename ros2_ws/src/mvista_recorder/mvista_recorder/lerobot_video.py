"""Video files as LeRobot v3.0 has them: colour as H.264, depth without loss as 12-bit HEVC.

One thread an encoder, without what depends on their number: the same images give the same bytes on
any machine with the same libraries. Every second frame is whole (as in LeRobot's own files), so
that a reader finds any frame soon.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from mvista_core.errors import EpisodeError, RecordingError
from mvista_core.records import UInt8, UInt16

DEPTH_MOST_MM = 4095
"""The largest code of 12 bits: a code is a millimetre, and 0 stays 0, invalid."""
_EVERY = 2


@dataclass(frozen=True)
class VideoKind:
    """How images of one kind are encoded: FFmpeg's names, and LeRobot's for the same."""

    encoder: str
    codec: str
    pixels: str
    source: str
    channels: int
    preset: str
    crf: int | None
    extra: tuple[tuple[str, str], ...] = ()

    def options(self) -> dict[str, str]:
        """For the encoder."""
        crf = {} if self.crf is None else {"crf": str(self.crf)}
        # No B-frames: then any frame takes the whole one before it at most.
        told = {"preset": self.preset, "g": str(_EVERY), "bf": "0", **crf}
        return told | dict(self.extra)

    def info(self, width_px: int, height_px: int, rate_hz: int) -> dict[str, Any]:
        """The `info` of a feature: what LeRobot finds in a video, and how it was encoded."""
        return {
            "video.height": height_px,
            "video.width": width_px,
            "video.codec": self.codec,
            "video.pix_fmt": self.pixels,
            "video.fps": rate_hz,
            "video.channels": self.channels,
            "has_audio": False,
            "video.g": _EVERY,
            "video.crf": self.crf,
            "video.preset": self.preset,
            "video.fast_decode": 0,
            "video.video_backend": "pyav",
            "video.extra_options": {},
            "is_depth_map": False,
        }


COLOR = VideoKind("libx264", "h264", "yuv420p", "rgb24", 3, "veryfast", 18)
# `info=0`: x265 would write its version and options into the stream.
_LOSSLESS = "lossless=1:pools=none:frame-threads=1:wpp=0:info=0:log-level=none"
DEPTH = VideoKind(
    "libx265", "hevc", "gray12le", "gray12le", 1, "ultrafast", None, (("x265-params", _LOSSLESS),)
)


def depth_info(width_px: int, height_px: int, rate_hz: int) -> dict[str, Any]:
    """The `info` of a depth feature: by it LeRobot makes millimetres of codes, exactly."""
    return {
        **DEPTH.info(width_px, height_px, rate_hz),
        "is_depth_map": True,
        "depth_unit": "mm",
        "video.depth_min": 0.0,
        "video.depth_max": DEPTH_MOST_MM / 1000.0,
        "video.shift": 0.0,
        # LeRobot's default, depth by its logarithm, gives an invalid 0 back as 10 mm.
        "video.use_log": False,
        "video.extra_options": {"x265-params": "lossless=1"},
    }


class VideoFile:
    """One file, written aside; `finish` gives it its name."""

    def __init__(self, path: Path, kind: VideoKind, size_px: tuple[int, int], rate_hz: int) -> None:
        """`size_px` is width and height.

        Raises:
            EpisodeError: images of an odd size, which halved colour cannot hold.
            RecordingError: the file cannot be made.
        """
        if any(side % 2 for side in size_px):
            raise EpisodeError(f"images of {size_px[0]}x{size_px[1]}; allowed: even sizes")
        self._path, self._kind = path, kind
        self._aside = path.with_name(f".{path.name}")
        try:
            # `bitexact`: without it the container names the library that wrote it.
            self._container = av.open(
                str(self._aside), "w", format="mp4", options={"fflags": "+bitexact"}
            )
            # Any: PyAV knows only some encoders' names as those of video.
            stream: Any = self._container.add_stream(kind.encoder, rate_hz, options=kind.options())
        except (av.FFmpegError, OSError, ValueError) as error:
            raise RecordingError(f"cannot write {path}: {error}") from None
        stream.width, stream.height = size_px
        stream.pix_fmt = kind.pixels
        stream.thread_count = 1
        self._stream = stream

    def add(self, image: UInt8 | UInt16) -> None:
        """The next image: RGB [H, W, 3], or codes [H, W].

        Raises:
            EpisodeError: it is of another size, which FFmpeg would stretch in silence.
        """
        height, width = image.shape[:2]
        if (width, height) != (self._stream.width, self._stream.height):
            raise EpisodeError(
                f"{self._path.parts[-3]}: an image of {width}x{height}, where the lens is of "
                f"{self._stream.width}x{self._stream.height}"
            )
        solid: Any = np.ascontiguousarray(image)
        self._write(av.VideoFrame.from_ndarray(solid, format=self._kind.source))

    def finish(self) -> None:
        """Write what the encoder still holds, and name the file."""
        self._write(None)
        try:
            self._container.close()
            self._aside.rename(self._path)
        except (av.FFmpegError, OSError) as error:
            raise RecordingError(f"cannot write {self._path}: {error}") from None

    def discard(self) -> None:
        """Remove it, finished or not."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        for path in (self._aside, self._path):
            path.unlink(missing_ok=True)

    def _write(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise RecordingError(f"cannot write {self._path}: {error}") from None
