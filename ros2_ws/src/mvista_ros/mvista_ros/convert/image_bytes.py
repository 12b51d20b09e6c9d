"""Large images as serialised `sensor_msgs/Image`, without a message object in between.

A 1280x720 image through `Image` is copied five times on its way out and four on its way in; these
bytes are what the middleware sends (`publisher.publish(bytes)`) and hands over (`raw=True`), so one
copy is left on each side. Plain CDR, little endian (OMG DDS-XTypes 7.4.3), as rmw_fastrtps writes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ObservationError
from mvista_core.timing import NS_PER_S

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
ENCODINGS: dict[str, tuple[np.dtype[Any], int]] = {
    "rgb8": (np.dtype(np.uint8), 3),
    "bgr8": (np.dtype(np.uint8), 3),
    "mono8": (np.dtype(np.uint8), 1),
    "16UC1": (np.dtype("<u2"), 1),
    "mono16": (np.dtype("<u2"), 1),
}


COLOR_ENCODINGS = ("rgb8", "bgr8", "mono8")
DEPTH_ENCODINGS = ("16UC1", "mono16")


@dataclass(frozen=True)
class Layout:
    """How an image's bytes lie: `step` bytes a row."""

    frame_id: str
    encoding: str
    height: int
    width: int
    step: int
    bigendian: bool


@dataclass(frozen=True)
class ReceivedImage:
    """A serialised image: `pixels` [H, W] or [H, W, 3] (RGB), mostly a view of its bytes."""

    stamp_ns: int
    frame_id: str
    encoding: str
    pixels: NDArray[Any]


def image_to_bytes(pixels: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> bytes:
    """uint8 [H, W, 3] (rgb8) or uint16 [H, W] (16UC1) as a serialised image.

    Raises:
        ObservationError: the pixels do not fit the encoding.
    """
    kind, channels = ENCODINGS[encoding]
    shape = pixels.shape[:2] if channels == 1 else (*pixels.shape[:2], channels)
    if pixels.shape != shape or pixels.dtype != kind:
        raise ObservationError(f"{pixels.dtype} {pixels.shape} is no {encoding} image")
    pixels = np.ascontiguousarray(pixels)
    seconds, nanoseconds = divmod(int(stamp_ns), NS_PER_S)
    head = bytearray(struct.pack("<iI", seconds, nanoseconds))
    _write_text(head, frame_id)
    head += struct.pack("<II", pixels.shape[0], pixels.shape[1])
    _write_text(head, encoding, pad=False)
    head += b"\0"  # is_bigendian
    head += bytes(-len(head) % 4)
    head += struct.pack("<II", pixels.shape[1] * channels * kind.itemsize, pixels.nbytes)
    return b"".join((_LITTLE_ENDIAN, head, pixels.data.cast("B")))


def image_from_bytes(data: bytes, encodings: Collection[str] = tuple(ENCODINGS)) -> ReceivedImage:
    """Read a serialised image, in place where it can be. The pixels live as long as the bytes do.

    Raises:
        ObservationError: not little-endian CDR, an encoding other than `encodings`, or fewer bytes
            than the header says.
    """
    body = memoryview(data)[4:]
    if bytes(data[:4]) != _LITTLE_ENDIAN:
        raise ObservationError(f"serialised as {bytes(data[:4])!r}, readable is plain CDR")
    try:
        seconds, nanoseconds = struct.unpack_from("<iI", body, 0)
        frame_id, at = _read_text(body, 8)
        height, width = struct.unpack_from("<II", body, at)
        encoding, at = _read_text(body, at + 8, align=1)
        bigendian = bool(body[at])
        at += 1 + -(at + 1) % 4
        step, size = struct.unpack_from("<II", body, at)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ObservationError(f"not a readable image: {error!r}") from None
    layout = Layout(frame_id, encoding, height, width, step, bigendian)
    if len(body) < at + 8 + size:
        raise ObservationError(f"{frame_id}: {len(body) - at - 8} of {size} bytes of pixels came")
    pixels = pixels_of(body[at + 8 : at + 8 + size], layout, encodings)
    said = "rgb8" if encoding == "bgr8" else encoding
    return ReceivedImage(seconds * NS_PER_S + nanoseconds, frame_id, said, pixels)


def color_from_bytes(data: bytes) -> ReceivedImage:
    """A serialised colour (or 8-bit grey) image: rgb8, mono8, or bgr8 turned round.

    Raises:
        ObservationError: see `image_from_bytes`.
    """
    return image_from_bytes(data, COLOR_ENCODINGS)


def depth_from_bytes(data: bytes) -> ReceivedImage:
    """A serialised depth image: 16UC1 or mono16, whole millimetres.

    Raises:
        ObservationError: see `image_from_bytes`.
    """
    return image_from_bytes(data, DEPTH_ENCODINGS)


def pixels_of(data: Any, layout: Layout, encodings: Collection[str]) -> NDArray[Any]:
    """[H, W] or [H, W, 3] in this machine's byte order and RGB, of an image's bytes.

    The one place that reads pixels: both readers, of messages and of serialised ones, end here. A
    view of `data` unless bytes or channels must be turned round.

    Raises:
        ObservationError: another encoding, or fewer bytes than height times step.
    """
    check_layout(len(data), layout, encodings)
    kind, channels = ENCODINGS[layout.encoding]
    sent = kind.newbyteorder(">") if layout.bigendian else kind
    shape: tuple[int, ...] = (layout.height, layout.width)
    strides: tuple[int, ...] = (layout.step, channels * kind.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, kind.itemsize)
    if not layout.height * layout.width:
        return np.zeros(shape, kind)
    pixels: NDArray[Any] = np.ndarray(shape, sent, data, strides=strides)
    if layout.encoding == "bgr8":
        return np.ascontiguousarray(pixels[..., ::-1])
    return pixels if sent == kind else pixels.astype(kind)


def check_layout(size_bytes: int, layout: Layout, encodings: Collection[str]) -> None:
    """Refuse what `pixels_of` cannot read, without looking at the pixels.

    Raises:
        ObservationError: another encoding, or fewer bytes than height times step.
    """
    if layout.encoding not in ENCODINGS or layout.encoding not in encodings:
        raise ObservationError(
            f"{layout.frame_id}: encoding is '{layout.encoding}', readable are {list(encodings)}"
        )
    kind, channels = ENCODINGS[layout.encoding]
    row = layout.width * channels * kind.itemsize
    if layout.step < row or size_bytes < layout.height * layout.step:
        raise ObservationError(
            f"{layout.frame_id}: {size_bytes} bytes with step {layout.step} cannot hold "
            f"{layout.width}x{layout.height} {layout.encoding} ({row} bytes a row)"
        )


def _write_text(head: bytearray, text: str, pad: bool = True) -> None:
    encoded = text.encode() + b"\0"
    head += struct.pack("<I", len(encoded)) + encoded
    if pad:
        head += bytes(-len(head) % 4)


def _read_text(body: memoryview, at: int, align: int = 4) -> tuple[str, int]:
    """A text and the place after it, moved on to a multiple of `align`."""
    (length,) = struct.unpack_from("<I", body, at)
    end = at + 4 + length
    return bytes(body[at + 4 : end - 1]).decode(), end + -end % align
