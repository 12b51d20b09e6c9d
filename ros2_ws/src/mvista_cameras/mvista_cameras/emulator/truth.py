"""When an emulated picture was really taken, written into its JPEG as a comment (T.81, B.2.4.5).

It goes with the picture through taps, topics and files, so whoever holds the JPEG can hold a stamp
against the truth.
"""

from __future__ import annotations

import re

from mvista_core.errors import ObservationError
from mvista_core.jpeg import START

_COMMENT = b"\xff\xfe"
_WORDS = re.compile(rb"emulated: taken at (-?\d+) ns")
# Looked for at the very beginning: image data may hold any bytes.
_LONGEST = 64


def with_truth(jpeg: bytes, captured_ns: int) -> bytes:
    """The JPEG with the wall time of its capture."""
    words = b"emulated: taken at %d ns" % captured_ns
    # A segment's length counts its own two bytes (T.81, B.1.1.4).
    return START + _COMMENT + (len(words) + 2).to_bytes(2, "big") + words + jpeg[len(START) :]


def true_capture_ns(jpeg: bytes) -> int:
    """Wall time at which the emulated camera took the picture.

    Raises:
        ObservationError: no emulated camera took it.
    """
    found = _WORDS.search(jpeg, 0, _LONGEST)
    if not found:
        raise ObservationError("the JPEG says nothing of its capture: no emulated camera took it")
    return int(found[1])
