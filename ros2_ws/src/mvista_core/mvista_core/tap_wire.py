"""Where a camera's tap is, and what crosses it.

Every frame is a prefix (magic, version, kind, sizes, checksum of what is not image), a head and a
body. A calibration's head is JSON; a capture's holds its numbers, its body the JPEG and then the
depth image, little-endian. A refusal's head is a sentence.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.capture import Capture, JpegDecoder
from mvista_core.documents import Document
from mvista_core.errors import TapError
from mvista_core.registration import StreamCalibration
from mvista_core.rig import lens_document, parse_lens

MAGIC, VERSION = b"MVTP", 1
PREFIX = struct.Struct("<4sHHIII")
CAPTURE = struct.Struct("<QqqqIHH")
LARGEST_HEAD, LARGEST_BODY = 1 << 16, 1 << 25
LONGEST_PATH = 107
"""Of a Unix socket's name on Linux (unix(7))."""
_CAMERA = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


class FrameKind(IntEnum):
    """What a frame holds."""

    CALIBRATION = 1
    CAPTURE = 2
    REFUSAL = 3


@dataclass(frozen=True)
class Prefix:
    """What comes before a frame, checked."""

    kind: FrameKind
    head_bytes: int
    body_bytes: int
    checksum: int


@dataclass(frozen=True)
class Greeting:
    """Whose tap it is, which run of the camera's process, and how its captures are calibrated."""

    camera: str
    session: str
    calibration: StreamCalibration


def tap_path(
    camera: str, environment: Mapping[str, str] = os.environ, domain: int | None = None
) -> Path:
    """`$XDG_RUNTIME_DIR/mvista/<domain>/<camera>.sock`; of `cell_a/cam0` it is cell_a.cam0.sock.

    Where that folder is not there: below /run/user/<uid>, and without that /tmp/mvista-<uid>. The
    domain is ROS_DOMAIN_ID's unless told.

    Raises:
        TapError: no name for a camera, no domain, or too long for a socket.
    """
    if not _CAMERA.fullmatch(camera):
        raise TapError(f"'{camera}' is no camera's name; allowed: {_CAMERA.pattern}")
    said = environment.get("ROS_DOMAIN_ID") or "0" if domain is None else str(domain)
    if not said.isdecimal():
        raise TapError(f"ROS_DOMAIN_ID is '{said}'; allowed: a whole number")
    path = _runtime_folder(environment) / str(int(said)) / f"{camera.replace('/', '.')}.sock"
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise TapError(
            f"{path} is longer than a socket's name may be ({LONGEST_PATH} bytes): set "
            "XDG_RUNTIME_DIR to a shorter one"
        )
    return path


def _runtime_folder(environment: Mapping[str, str]) -> Path:
    user = os.getuid()
    for folder in (environment.get("XDG_RUNTIME_DIR", ""), f"/run/user/{user}"):
        if os.path.isabs(folder) and os.path.isdir(folder):
            return Path(folder) / "mvista"
    return Path(f"/tmp/mvista-{user}")


def pack(kind: FrameKind, head: bytes, body_bytes: int = 0) -> bytes:
    """Prefix and head of a frame; its body follows them."""
    return PREFIX.pack(MAGIC, VERSION, kind, len(head), body_bytes, zlib.crc32(head)) + head


def pack_greeting(greeting: Greeting) -> bytes:
    """A calibration's frame."""
    calibration = greeting.calibration
    document = {
        "camera": greeting.camera,
        "session": greeting.session,
        "color": lens_document(calibration.color),
        "depth": lens_document(calibration.depth),
        "color_from_depth": calibration.color_from_depth.tolist(),
    }
    return pack(FrameKind.CALIBRATION, json.dumps(document).encode())


def pack_capture(capture: Capture) -> tuple[bytes, bytes, memoryview]:
    """A capture's frame, in three parts that are sent one after the other."""
    depth = np.ascontiguousarray(capture.native_depth_mm, dtype="<u2")
    head = CAPTURE.pack(
        capture.sequence,
        capture.stamp_ns,
        capture.depth_stamp_ns,
        capture.clock_residual_ns,
        len(capture.jpeg),
        *depth.shape,
    )
    prefix = pack(FrameKind.CAPTURE, head, len(capture.jpeg) + depth.nbytes)
    return prefix, capture.jpeg, depth.data.cast("B")


def parse_prefix(data: bytes) -> Prefix:
    """Raises `TapError`: not of a tap, of another version, or of a size that no frame has."""
    magic, version, kind, head_bytes, body_bytes, checksum = PREFIX.unpack(data)
    if magic != MAGIC:
        raise TapError(f"foreign bytes: a frame begins with {magic!r}, a tap's with {MAGIC!r}")
    if version != VERSION:
        raise TapError(
            f"the camera's process speaks version {version}, this one {VERSION}: start both from "
            "one installation"
        )
    known = kind in {member.value for member in FrameKind}
    if not known or head_bytes > LARGEST_HEAD or body_bytes > LARGEST_BODY:
        raise TapError(
            f"a frame of kind {kind} with {head_bytes} and {body_bytes} bytes; allowed: kinds "
            f"{[member.value for member in FrameKind]}, {LARGEST_HEAD} and {LARGEST_BODY} bytes"
        )
    return Prefix(FrameKind(kind), head_bytes, body_bytes, checksum)


def check_head(prefix: Prefix, head: bytes) -> None:
    """Raises `TapError`: the head is not what was sent."""
    if zlib.crc32(head) != prefix.checksum:
        raise TapError(f"a frame's head of {len(head)} bytes does not match its checksum")


def parse_greeting(head: bytes) -> Greeting:
    """Raises `TapError`: no calibration."""
    try:
        document = Document(json.loads(head), "the tap's calibration", TapError)
    except (ValueError, RecursionError):
        raise TapError("the tap's calibration is not JSON") from None
    return Greeting(
        document["camera"].text(),
        document["session"].text(),
        StreamCalibration(
            parse_lens(document["color"]),
            parse_lens(document["depth"]),
            document["color_from_depth"].numbers(4, 4),
        ),
    )


def parse_capture(
    head: bytes, body: memoryview, greeting: Greeting, decode: JpegDecoder
) -> Capture:
    """Raises `TapError`: its sizes are not those of the calibration, or of its own parts."""
    if len(head) != CAPTURE.size:
        raise TapError(f"a capture's head has {len(head)} bytes; allowed: {CAPTURE.size}")
    sequence, stamp_ns, depth_stamp_ns, residual_ns, jpeg_bytes, *shape = CAPTURE.unpack(head)
    lens = greeting.calibration.depth
    expected: list[Any] = [lens.height_px, lens.width_px]
    if shape != expected or len(body) != jpeg_bytes + 2 * shape[0] * shape[1]:
        raise TapError(
            f"capture {sequence}: {len(body)} bytes for a JPEG of {jpeg_bytes} and depth of "
            f"{shape}; calibrated is {expected}"
        )
    depth_mm = np.frombuffer(body[jpeg_bytes:], dtype="<u2").reshape(shape)
    return Capture(
        greeting.camera,
        sequence,
        stamp_ns,
        depth_stamp_ns,
        bytes(body[:jpeg_bytes]),
        depth_mm,
        greeting.calibration,
        decode,
        residual_ns,
    )
