"""Small pictures of a shot, for people and for planners that see little: a whole-number reduction.

Colour is averaged; depth takes the middle valid value (mvista_core.imaging says why).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mvista_cameras.records import Shot
from mvista_core.imaging import reduce_color, reduce_depth
from mvista_core.records import Intrinsics

WIDTH_PX, HEIGHT_PX = 320, 180


def preview_factor(lens: Intrinsics) -> int | None:
    """How many pixels become one, or None where 320x180 is no whole part of the image."""
    factor = lens.width_px // WIDTH_PX
    if factor and (lens.width_px, lens.height_px) == (WIDTH_PX * factor, HEIGHT_PX * factor):
        return factor
    return None


def preview(shot: Shot, factor: int) -> Shot:
    """The shot at 1/`factor` of its size, its intrinsics with it."""
    depth_mm = reduce_depth(shot.depth_mm.astype(np.float32), factor).astype(np.uint16)
    return replace(
        shot,
        color=reduce_color(shot.color, factor),
        depth_mm=depth_mm,
        intrinsics=shot.intrinsics.scaled(1.0 / factor),
        native_depth_mm=None,
    )
