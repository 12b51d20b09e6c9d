"""Large images as serialised `sensor_msgs/Image`, without a message object in between.

A 1280x720 image through `Image` is copied five times on its way out and four on its way in; these
bytes are what the middleware sends (`publisher.publish(bytes)`) and hands over (`raw=True`), so one
copy is left on each side. Plain CDR, little endian (OMG DDS-XTypes 7.4.3), as rmw_fastrtps writes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ObservationError
from mvista_core.timing import NS_PER_S

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_ENCODINGS: dict[str, tuple[np.dtype[Any], int]] = {
    "rgb8": (np.dtype(np.uint8), 3),
    "mono8": (np.dtype(np.uint8), 1),
    "16UC1": (np.dtype("<u2"), 1),
    "mono16": (np.dtype("<u2"), 1),
}


@dataclass(frozen=True)
class ReceivedImage:
    """A serialised image, read in place: `pixels` [H, W] or [H, W, 3] is a view of its bytes."""

    stamp_ns: int
    frame_id: str
    encoding: str
    pixels: NDArray[Any]


def image_to_bytes(pixels: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> bytes:
    """uint8 [H, W, 3] (rgb8) or uint16 [H, W] (16UC1) as a serialised image.

    Raises:
        ObservationError: the pixels do not fit the encoding.
    """
    kind, channels = _ENCODINGS[encoding]
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


def image_from_bytes(data: bytes) -> ReceivedImage:
    """Read a serialised image in place. The pixels live as long as the bytes do.

    Raises:
        ObservationError: not little-endian CDR, an encoding other than rgb8, mono8, 16UC1 or
            mono16, padded rows, or fewer bytes than the header says.
    """
    body = memoryview(data)[4:]
    if bytes(data[:4]) != _LITTLE_ENDIAN:
        raise ObservationError(f"serialised as {bytes(data[:4])!r}, readable is plain CDR")
    try:
        seconds, nanoseconds = struct.unpack_from("<iI", body, 0)
        frame_id, at = _read_text(body, 8)
        height, width = struct.unpack_from("<II", body, at)
        encoding, at = _read_text(body, at + 8, align=1)
        at += 1 + -(at + 1) % 4
        step, size = struct.unpack_from("<II", body, at)
        kind, channels = _ENCODINGS[encoding]
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise ObservationError(f"not a readable image: {error!r}") from None
    row = width * channels * kind.itemsize
    if step != row or size < height * row or len(body) < at + 8 + size:
        raise ObservationError(
            f"{frame_id}: {len(body) - at - 8} bytes with step {step} cannot hold "
            f"{width}x{height} {encoding} ({row} bytes a row)"
        )
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = np.frombuffer(body, kind, height * width * channels, at + 8).reshape(shape)
    return ReceivedImage(seconds * NS_PER_S + nanoseconds, frame_id, encoding, pixels)


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
