"""Small pictures of a capture, for people and planners that see little: whole-number reductions.

Colour is averaged; depth takes the middle valid value (mvista_core.imaging says why).
"""

from __future__ import annotations

import numpy as np

from mvista_core.capture import Capture
from mvista_core.imaging import reduce_color, reduce_depth
from mvista_core.records import Intrinsics, UInt8, UInt16

WIDTH_PX, HEIGHT_PX = 320, 180


def preview_factor(lens: Intrinsics) -> int | None:
    """How many pixels become one, or None where 320x180 is no whole part of the image."""
    factor = lens.width_px // WIDTH_PX
    if factor and (lens.width_px, lens.height_px) == (WIDTH_PX * factor, HEIGHT_PX * factor):
        return factor
    return None


def preview_color(capture: Capture, factor: int) -> UInt8:
    """Colour at 1/`factor` of its size."""
    return reduce_color(capture.pixels(), factor)


def preview_depth_mm(capture: Capture, factor: int) -> UInt16:
    """Registered depth at 1/`factor` of its size."""
    depth_mm = capture.registered_depth_mm().astype(np.float32)
    return reduce_depth(depth_mm, factor).astype(np.uint16)
