"""What a JPEG says of itself, read from its markers without decoding it (ITU-T T.81, annex B)."""

from __future__ import annotations

from mvista_core.errors import ObservationError

START, END = b"\xff\xd8", b"\xff\xd9"
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15; DHT, JPG and DAC lie between them."""
_SCAN = 0xDA
_LARGEST_HEADER = 1 << 16


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a JPEG that begins and ends as one; 20 us.

    Raises:
        ObservationError: it does not: cut short, or something else.
    """
    if data[:2] != START:
        raise ObservationError(
            f"{len(data)} bytes begin with {data[:2].hex() or 'nothing'}: no JPEG"
        )
    if data[-2:] != END:
        raise ObservationError(f"a JPEG of {len(data)} bytes lacks its end: cut short in transfer")
    at = 2
    while at + 9 <= min(len(data), _LARGEST_HEADER) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind in _FRAME_HEADERS:
            height_px = int.from_bytes(data[at + 5 : at + 7], "big")
            width_px = int.from_bytes(data[at + 7 : at + 9], "big")
            return width_px, height_px
        if kind == _SCAN:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ObservationError(f"a JPEG of {len(data)} bytes has no frame header: damaged in transfer")
