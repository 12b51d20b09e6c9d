"""Camera views as one picture: a row for each camera, colour beside depth, with its name on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mvista_core.records import UInt8

TILE_PX = (320, 180)
"""Width and height of one view in the picture."""
NEAR_MM, FAR_MM = 250.0, 1250.0
"""Depths at the two ends of the colours."""
EMPTY = (30, 33, 40)
INK, PAPER = (255, 255, 255), (18, 20, 26)
_STOPS = np.array(
    [[252, 253, 191], [254, 159, 109], [222, 73, 104], [140, 41, 129], [59, 15, 112], [10, 8, 30]]
)
"""Near is bright, far is dark (magma's own colours)."""


def _ramp() -> UInt8:
    places = np.linspace(0, len(_STOPS) - 1, 256)
    columns = [np.interp(places, range(len(_STOPS)), column) for column in _STOPS.T]
    return np.stack(columns, -1).astype(np.uint8)


_RAMP = _ramp()


@dataclass(frozen=True)
class View:
    """What a camera shows: colour uint8 [H, W, 3], depth uint16 [H, W] (mm, 0 invalid); or None."""

    color: UInt8 | None = None
    depth_mm: np.ndarray | None = None


def depth_in_color(depth_mm: np.ndarray) -> UInt8:
    """Depth [H, W] in mm as colours uint8 [H, W, 3]; what is invalid is the empty tile's colour."""
    share = (depth_mm.astype(np.float32) - NEAR_MM) * (255.0 / (FAR_MM - NEAR_MM))
    drawn = _RAMP[np.clip(share, 0, 255).astype(np.uint8)]
    drawn[depth_mm == 0] = EMPTY
    return drawn


class Sheet:
    """Draws the views of these cameras, always in the same places."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self.cameras = tuple(cameras)
        self._names = {name: _label(name) for name in cameras}

    def drawn(self, views: Mapping[str, View]) -> UInt8:
        """uint8 [rows * 180, 640, 3]; an empty tile where a camera shows nothing."""
        width, height = TILE_PX
        rows = max(len(self.cameras), 1)
        sheet = np.full((rows * height, 2 * width, 3), EMPTY, np.uint8)
        for row, camera in enumerate(self.cameras):
            view = views.get(camera, View())
            band = sheet[row * height : (row + 1) * height]
            if view.color is not None:
                color = _fitted(view.color)
                band[:, :width] = color if color.ndim == 3 else color[..., None]
            if view.depth_mm is not None:
                band[:, width:] = depth_in_color(_fitted(view.depth_mm))
            label = self._names[camera]
            band[: label.shape[0], : label.shape[1]] = label
        return sheet


def _fitted(image: np.ndarray) -> np.ndarray:
    """An image [H, W, ...] of any size in a tile's, each pixel the nearest: depth has no means."""
    width, height = TILE_PX
    if image.shape[:2] == (height, width):
        return image
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows[:, None], columns]


def _label(text: str) -> UInt8:
    """The name as a small picture."""
    width = 12 + round(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(text))
    label = Image.new("RGB", (width, 18), PAPER)
    ImageDraw.Draw(label).text((6, 3), text, fill=INK)
    return np.asarray(label)
