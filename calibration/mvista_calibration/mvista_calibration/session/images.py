"""Pictures of a session: found whatever their ending's case, read whole or refused, written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.records import SessionCamera
from mvista_calibration.session.checks import metres_from_stored
from mvista_calibration.session.layout import DEPTH_UNIT_MM
from mvista_core.errors import CalibrationError
from mvista_core.files import replace_file
from mvista_core.records import Float32, UInt8

ENDINGS = (".png", ".jpg", ".jpeg")
"""Of colour pictures, in any case; depth is always a PNG."""


def find_picture(folder: Path, stem: str, endings: tuple[str, ...] = ENDINGS) -> Path | None:
    """The file of this stem with one of the endings, in any case (`cam0.JPG`); None: there is none.

    Raises:
        CalibrationError: there are several, and which one is meant cannot be told.
    """
    found = sorted(
        file for file in folder.glob("*") if file.stem == stem and file.suffix.lower() in endings
    )
    if len(found) > 1:
        raise CalibrationError(
            f"{folder} holds {' and '.join(file.name for file in found)}: which one is "
            f"{stem}'s picture? Delete the other"
        )
    return found[0] if found else None


def read_bytes(file: Path, where: str) -> bytes:
    """The file's bytes; `CalibrationError` when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{where}: {file} cannot be read: {error.strerror}") from None


def decode_gray(data: bytes, file: Path, where: str) -> UInt8:
    """Gray uint8 [H, W] of a whole picture; one that was cut off is refused, never read in part.

    Raises:
        CalibrationError: not a picture, or only a part of one.
    """
    # Intrinsics are of the sensor's rows and columns: no EXIF tag may turn the picture.
    image = _decoded(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise CalibrationError(
            f"{where}: {file} is no image, or only a part of one ({len(data)} bytes); record the "
            "shot again, or delete it"
        )
    return np.asarray(image, dtype=np.uint8)


def read_gray(file: Path, where: str) -> UInt8:
    """As `decode_gray`, of a file."""
    return decode_gray(read_bytes(file, where), file, where)


def read_depth(folder: Path, camera: SessionCamera, shot: str, unit_m: float) -> Float32:
    """Depth float32 [H, W] m of one camera in a shot's folder, stored in steps of `unit_m`.

    Raises:
        CalibrationError: it is missing, cut off, not 16 bits, of a wrong size or unit.
    """
    file = find_picture(folder, f"{camera.name}_depth", ENDINGS[:1])
    named = file if file is not None else folder / f"{camera.name}_depth.png"
    where = f"{camera.name}, {shot} ({folder.name}/{named.name})"
    data = None if file is None else read_bytes(file, where)
    stored = None if data is None else _decoded(data, cv2.IMREAD_UNCHANGED)
    return metres_from_stored(stored, camera, where, unit_m)


def _decoded(data: bytes, flags: int) -> NDArray[np.generic] | None:
    """OpenCV's reading from memory gives None for a picture that ends early; that from a file
    gives a JPEG's first half, and gray for the rest."""
    if not data:
        return None
    return cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)


def write_color(file: Path, color: UInt8) -> bytes:
    """Write uint8 RGB [H, W, 3] or gray [H, W] as PNG; returns the file's bytes."""
    stored = color if color.ndim == 2 else cv2.cvtColor(color, cv2.COLOR_RGB2BGR)
    return _write_png(file, np.asarray(stored))


def write_depth(file: Path, depth_m: Float32) -> None:
    """Write depth [H, W] m in steps of `DEPTH_UNIT_MM`; what 16 bits cannot hold becomes 0."""
    finite = np.where(np.isfinite(depth_m), depth_m, 0.0)
    steps = np.rint(finite.astype(np.float64) * (1000.0 / DEPTH_UNIT_MM))
    steps[(steps < 0) | (steps > np.iinfo(np.uint16).max)] = 0.0
    _write_png(file, steps.astype(np.uint16))


def _write_png(file: Path, image: NDArray[np.generic]) -> bytes:
    done, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise CalibrationError(f"{file}: {image.dtype} {image.shape} cannot be stored as PNG")
    data = encoded.tobytes()
    replace_file(file, data, CalibrationError)
    return data
