"""A camera's newest frame out of the images that waited for a look, paired by their stamps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvista_core.records import CameraFrame, Intrinsics
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.image_bytes import ReceivedImage
from mvista_ros.observation import PAIRING_TOLERANCE_S


def newest_frame(
    camera: str,
    lens: Intrinsics,
    colors: Sequence[ReceivedImage],
    depths: Sequence[ReceivedImage],
) -> CameraFrame | None:
    """The newest colour image with a depth image (16 bits, mm) of its instant; None: no such pair.

    Both are in the order in which they came. The frame has the colour's stamp, depth in metres.
    """
    tolerance_ns = seconds_to_ns(PAIRING_TOLERANCE_S)
    for color in reversed(colors):
        for depth in reversed(depths):
            if abs(color.stamp_ns - depth.stamp_ns) <= tolerance_ns:
                metres = depth.pixels.astype(np.float32) / np.float32(1000.0)
                return CameraFrame(color.pixels, metres, lens, color.stamp_ns, camera)
    return None
