"""JPEG to pixels and back, by OpenCV's libjpeg-turbo."""

from __future__ import annotations

import cv2
import numpy as np

from mvista_core.errors import ObservationError
from mvista_core.jpeg import jpeg_size
from mvista_core.records import UInt8

_AS_THE_LENS_SEES_IT = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def decode_jpeg(data: bytes, reduce: int = 1) -> UInt8:
    """RGB uint8 [H, W, 3]; `reduce` 2, 4 or 8 decodes at that part of the size, for less.

    Raises:
        ObservationError: cut short, or no picture.
    """
    # OpenCV fills up what is missing of an image that is cut short, or not, by its version.
    jpeg_size(data)
    encoded = np.frombuffer(data, dtype=np.uint8)
    if reduce == 1:
        pixels = cv2.imdecode(encoded, _AS_THE_LENS_SEES_IT)
    else:
        pixels = cv2.imdecode(encoded, _REDUCED[reduce] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ObservationError(f"a JPEG of {len(data)} bytes cannot be decoded: damaged")
    # A reduced image comes as BGR only.
    return np.asarray(pixels if reduce == 1 else pixels[..., ::-1], dtype=np.uint8)


def encode_jpeg(pixels: UInt8, quality: int = 90) -> bytes:
    """A JPEG of RGB uint8 [H, W, 3]; `quality` 1 to 100 as libjpeg means it."""
    # OpenCV takes the channels for BGR.
    done, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ObservationError(f"pixels {pixels.shape} cannot be encoded as JPEG")
    return bytes(encoded)
