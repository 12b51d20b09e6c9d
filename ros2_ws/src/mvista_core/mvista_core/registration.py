"""Depth registered to colour: every depth pixel is projected into the colour image.

Forward projection with a z-buffer. A depth pixel covers a rectangle of colour pixels as large as
the projected distance to its neighbours, so a surface has no gaps; where the colour camera sees
what the depth camera cannot, the image stays 0: nothing is invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import CameraError, ObservationError
from mvista_core.lens import distort, pixel_rays
from mvista_core.records import MM_PER_M, Float32, Float64, Intrinsics, UInt16

Index = NDArray[np.int64]

_EMPTY = np.iinfo(np.uint16).max
_BLOCK_PX = 1 << 15
"""Depth pixels at a time: the intermediate arrays stay in the processor's cache."""
_RANGE_MM = (200.0, 1000.0, 6000.0)
"""Depths at which a depth pixel must come to lie in the colour image to be used at all."""
_PITCH_SLACK = 1.03
"""Neighbours on a sloping surface lie a little farther apart than on a facing one."""


@dataclass(frozen=True, eq=False)
class StreamCalibration:
    """Factory calibration of the colour and the depth stream of one camera, as they run.

    `color_from_depth` [4, 4] in metres maps points of the depth camera's optical frame (z forward,
    x right, y down) into the colour camera's.
    """

    color: Intrinsics
    depth: Intrinsics
    color_from_depth: Float64

    @classmethod
    def aligned(cls, color: Intrinsics) -> StreamCalibration:
        """Of a camera whose depth comes registered to its colour."""
        return cls(color, color, np.eye(4))

    def same_as(self, other: StreamCalibration | None) -> bool:
        """Whether both say the same."""
        return (
            other is not None
            and (self.color, self.depth) == (other.color, other.depth)
            and np.array_equal(self.color_from_depth, other.color_from_depth)
        )

    @property
    def is_aligned(self) -> bool:
        """Whether a depth image is registered to colour as it comes."""
        return self.depth == self.color and np.array_equal(self.color_from_depth, np.eye(4))

    @cached_property
    def registration(self) -> Registration:
        """Made when first asked for (about a second); one thread at a time may use it.

        Raises:
            CameraError: the calibration puts no depth pixel into the colour image.
        """
        return Registration(self)

    def register(self, depth_mm: UInt16) -> UInt16:
        """Depth [h, w] of the depth camera to depth [H, W] of the colour camera, 0 = unseen.

        Raises:
            ObservationError: the image is not of the calibrated size.
        """
        return depth_mm if self.is_aligned else self.registration.register(depth_mm)


@dataclass(frozen=True)
class _Block:
    """Some depth pixels: where they are, their rays in the colour frame, what they cover.

    pixels [N]; directions [3, N] per unit depth; half_px [2, N] half the distance to the
    neighbours in colour pixels (across, down); `taps` colour pixels at most per axis.
    """

    pixels: Index
    directions: Float32
    half_px: Float32
    taps: int


class Registration:
    """Built once for a calibration (about a second); then `register(depth)` per image.

    Raises:
        CameraError: the calibration puts no depth pixel into the colour image.
    """

    def __init__(self, calibration: StreamCalibration) -> None:
        self._color, self._depth = calibration.color, calibration.depth
        self._offset_mm = (calibration.color_from_depth[:3, 3] * MM_PER_M).astype(np.float32)
        rays = pixel_rays(calibration.depth).reshape(-1, 2)
        seen = np.asarray(np.isfinite(rays).all(axis=1))
        directions = np.column_stack([rays, np.ones(len(rays))])
        directions = np.nan_to_num(directions) @ calibration.color_from_depth[:3, :3].T
        self._blocks = list(self._plan(directions.T.astype(np.float32), seen))
        if not self._blocks:
            raise CameraError("the factory calibration puts no depth pixel into the colour image")
        self._margin = max(block.taps for block in self._blocks)
        padded = (
            self._color.height_px + 2 * self._margin,
            self._color.width_px + 2 * self._margin,
        )
        self._nearest = np.empty(padded, dtype=np.uint16)

    def register(self, depth_mm: UInt16) -> UInt16:
        """Depth [h, w] of the depth camera to depth [H, W] of the colour camera, 0 = unseen.

        Raises:
            ObservationError: the image is not of the calibrated size.
        """
        expected = (self._depth.height_px, self._depth.width_px)
        if depth_mm.shape != expected:
            raise ObservationError(f"native depth is {depth_mm.shape}, calibrated is {expected}")
        flat = depth_mm.ravel()
        self._nearest.fill(_EMPTY)
        for block in self._blocks:
            self._splat(block, flat[block.pixels])
        inside = slice(self._margin, -self._margin)
        seen = self._nearest[inside, inside]
        return np.where(seen == _EMPTY, np.uint16(0), seen)

    def _plan(self, directions: Float32, seen: NDArray[np.bool_]) -> Iterator[_Block]:
        half_px = self._half_pitch(directions)
        inside = [self._inside(directions, depth_mm) for depth_mm in _RANGE_MM]
        used = seen & np.logical_or.reduce(inside)
        taps = np.zeros(len(used), dtype=int)
        taps[used] = np.floor(2 * half_px[:, used].max(axis=0)).astype(int) + 1
        for count in np.unique(taps[used]):
            chosen = np.flatnonzero(used & (taps == count))
            for first in range(0, len(chosen), _BLOCK_PX):
                pixels = chosen[first : first + _BLOCK_PX]
                rays = np.ascontiguousarray(directions[:, pixels])
                half = np.ascontiguousarray(half_px[:, pixels])
                yield _Block(pixels, rays, half, max(int(count), 2))

    def _half_pitch(self, directions: Float32) -> Float32:
        """Half the distance to the neighbours in the colour image [2, N], at least half a pixel."""
        shape = (self._depth.height_px, self._depth.width_px)
        depth_mm = np.full(directions.shape[1], _RANGE_MM[1], dtype=np.float32)
        u, v, _ = _project(directions, depth_mm, self._offset_mm, self._color)
        across = np.abs(np.gradient(u.reshape(shape), axis=1)).ravel()
        down = np.abs(np.gradient(v.reshape(shape), axis=0)).ravel()
        pitch = np.stack([across, down]) * _PITCH_SLACK
        pitch = np.nan_to_num(pitch, nan=1.0, posinf=1.0)
        return (np.maximum(pitch, 1.0) / 2).astype(np.float32)

    def _inside(self, directions: Float32, distance_mm: float) -> NDArray[np.bool_]:
        depth_mm = np.full(directions.shape[1], distance_mm, dtype=np.float32)
        u, v, z_mm = _project(directions, depth_mm, self._offset_mm, self._color)
        across = (u >= -1) & (u <= self._color.width_px)
        return np.asarray(across & (v >= -1) & (v <= self._color.height_px) & (z_mm > 1))

    def _splat(self, block: _Block, depth_mm: UInt16) -> None:
        u, v, z_mm = _project(
            block.directions, depth_mm.astype(np.float32), self._offset_mm, self._color
        )
        z_mm += np.float32(0.5)
        value = z_mm.astype(np.uint16)
        value[depth_mm == 0] = _EMPTY
        target, stride = self._nearest.ravel(), self._nearest.shape[1]
        columns = self._covered(u, block.half_px[0], block.taps, self._color.width_px)
        for row in self._covered(v, block.half_px[1], block.taps, self._color.height_px):
            row *= stride
            for column in columns:
                np.minimum.at(target, row + column, value)

    def _covered(
        self, center_px: Float32, half_px: Float32, taps: int, size_px: int
    ) -> list[Index]:
        """Padded indices of the pixels whose centres lie within `half_px`: `taps` arrays [N]."""
        low, high = np.float32(-self._margin), np.float32(size_px + self._margin - 1)
        first = np.clip(np.ceil(center_px - half_px), low, high).astype(np.int64) + self._margin
        last = np.clip(np.floor(center_px + half_px), low, high).astype(np.int64) + self._margin
        return [first, *(np.minimum(first + k, last) for k in range(1, taps))]


def _project(
    directions: Float32, depth_mm: Float32, offset_mm: Float32, color: Intrinsics
) -> tuple[Float32, Float32, Float32]:
    """Colour pixel (u, v) and depth there (mm) of depth pixels; finite, even if depth is 0."""
    z_mm = directions[2] * depth_mm
    z_mm += offset_mm[2]
    np.maximum(z_mm, np.float32(1.0), out=z_mm)
    scale = 1 / z_mm
    x, y = directions[0] * depth_mm, directions[1] * depth_mm
    x += offset_mm[0]
    x *= scale
    y += offset_mm[1]
    y *= scale
    x, y = distort(x, y, color.distortion)
    x *= np.float32(color.fx_px)
    x += np.float32(color.cx_px)
    y *= np.float32(color.fy_px)
    y += np.float32(color.cy_px)
    return x, y, z_mm
