"""From a camera's images to the messages of an episode."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from mvista_core.errors import ObservationError
from mvista_core.jpeg import jpeg_size
from mvista_core.ports import Clock
from mvista_core.records import (
    CameraCalibration,
    Float64,
    Intrinsics,
    RigCalibration,
    UInt8,
    UInt16,
    lens_shift_px,
)
from mvista_core.registration import StreamCalibration
from mvista_recorder import schemas
from mvista_recorder.layout import (
    COLOR_FORMAT,
    DEPTH_FORMAT,
    TF,
    TF_STATIC,
    CameraChannels,
    Topic,
)
from mvista_ros.convert.depth_png import depth_to_transport
from mvista_ros.convert.jpeg import encode_jpeg
from mvista_ros.convert.stamps import depth_optical_frame, optical_frame

JPEG_QUALITY = 95
"""Of cameras that give pixels; those that give a JPEG keep theirs."""
LENS_SHIFT_LIMIT = 0.02
"""Of the image's width: a lens that bends rays farther from the rig's is another lens."""
FRAMES = Topic(TF_STATIC, TF, latched=True)


class StreamEar(Protocol):
    """Who takes a camera's messages: `Recorder`, or whoever writes an episode of its own."""

    def hear(
        self,
        topic: Topic,
        capture_ns: int,
        data: bytes,
        sequence: int = 0,
        lost: int = 0,
        size_px: tuple[int, int] | None = None,
        picture: bytes = b"",
        residual_ns: int | None = None,
    ) -> None: ...

    def drop(self, topic: Topic) -> None: ...

    def blame(self, topic: Topic, words: str) -> None: ...


class StaticFrames:
    """`/tf_static` of an episode: where cameras stand, and their depth sensors in them."""

    def __init__(self, rig: RigCalibration, recorder: StreamEar, clock: Clock) -> None:
        self._recorder, self._clock = recorder, clock
        self._lock = threading.Lock()
        self._poses: dict[tuple[str, str], Float64] = {
            (rig.base_frame, optical_frame(camera.name)): camera.base_from_camera
            for camera in rig.cameras
        }

    def tell(self, camera: str, color_from_depth: Float64) -> None:
        """One camera's depth sensor became known."""
        with self._lock:
            self._poses[optical_frame(camera), depth_optical_frame(camera)] = color_from_depth
            stamp_ns = self._clock.now_ns()
            # All poses each time: of a latched topic a late joiner gets the newest message alone.
            data = schemas.transforms_to_bytes(self._poses, stamp_ns)
        self._recorder.hear(FRAMES, stamp_ns, data)


class CameraFeed:
    """One camera's images, each told when it comes. Colour and depth may come apart."""

    def __init__(
        self, camera: CameraCalibration, recorder: StreamEar, frames: StaticFrames
    ) -> None:
        self.name = camera.name
        self._rig_lenses = (camera.intrinsics, *camera.other_intrinsics)
        self._recorder, self._frames = recorder, frames
        self._topics = CameraChannels.of(camera.name)
        self._calibration: StreamCalibration | None = None
        self._color_info = self._depth_info = b""

    def calibrate(self, calibration: StreamCalibration) -> None:
        """How the images to come are to be read; a repetition costs nothing."""
        if calibration.same_as(self._calibration):
            return
        self._calibration = calibration
        # Serialised once: with every image the same bytes go out under another stamp.
        self._color_info = schemas.lens_to_bytes(calibration.color, 0, optical_frame(self.name))
        self._depth_info = schemas.lens_to_bytes(
            calibration.depth, 0, depth_optical_frame(self.name)
        )
        self._frames.tell(self.name, calibration.color_from_depth)
        self._recorder.blame(
            self._topics.color, lens_fault_by_rig(calibration.color, self._rig_lenses)
        )

    def color(
        self,
        jpeg: bytes,
        stamp_ns: int,
        sequence: int = 0,
        lost: int = 0,
        residual_ns: int | None = None,
    ) -> None:
        """A colour image; `residual_ns` is how far the camera's clock strays, where it is known.

        Raises:
            ObservationError: the JPEG is cut short.
        """
        topic, size_px = self._topics.color, jpeg_size(jpeg)
        data = schemas.picture_to_bytes(COLOR_FORMAT, jpeg, stamp_ns, optical_frame(self.name))
        self._recorder.hear(topic, stamp_ns, data, sequence, lost, size_px, jpeg, residual_ns)
        self._recorder.hear(
            self._topics.color_info, stamp_ns, schemas.restamped(self._color_info, stamp_ns)
        )

    def color_pixels(self, pixels: UInt8, stamp_ns: int) -> None:
        """A colour image RGB [H, W, 3], or grey [H, W], of a camera that gives no JPEG.

        Raises:
            ObservationError: it has no pixels.
        """
        if not pixels.size:
            raise ObservationError(f"{self.name}: an image of {pixels.shape[:2]} rows and columns")
        if pixels.ndim == 2:
            # Three alike: of two dimensions the encoder would turn round the columns.
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        self.color(encode_jpeg(pixels, JPEG_QUALITY), stamp_ns)

    def depth(self, depth_mm: UInt16, stamp_ns: int, sequence: int = 0, lost: int = 0) -> None:
        """A depth image as the calibration says.

        Raises:
            EpisodeError: no depth image.
        """
        data = depth_to_transport(depth_mm)
        # Depth from topics is registered: this frame then lies in colour's (`TopicFeed.lens`).
        message = schemas.picture_to_bytes(
            DEPTH_FORMAT, data, stamp_ns, depth_optical_frame(self.name)
        )
        size_px = depth_mm.shape[1], depth_mm.shape[0]
        self._recorder.hear(self._topics.depth, stamp_ns, message, sequence, lost, size_px)
        self._recorder.hear(
            self._topics.depth_info, stamp_ns, schemas.restamped(self._depth_info, stamp_ns)
        )

    def drop_color(self, count: int = 1) -> None:
        """So many colour images were lost, or could not be taken."""
        for _ in range(count):
            self._recorder.drop(self._topics.color)

    def drop_depth(self, count: int = 1) -> None:
        """So many depth images were lost, or could not be taken."""
        for _ in range(count):
            self._recorder.drop(self._topics.depth)


def lens_fault_by_rig(lens: Intrinsics, known: tuple[Intrinsics, ...]) -> str:
    """What a camera's own lens has against the rig's, in words; "" where they agree."""
    same_size = [k for k in known if (k.width_px, k.height_px) == (lens.width_px, lens.height_px)]
    # Another size is told as that (`StreamTrouble.SIZE`), not as another lens.
    if not same_size:
        return ""
    shift_px = min(lens_shift_px(lens, other) for other in same_size)
    if shift_px <= LENS_SHIFT_LIMIT * lens.width_px:
        return ""
    return (
        f"has a lens {shift_px:.1f} px off the rig's: the rig is of another camera or out of date; "
        "calibrate anew"
    )
