"""One capture of an RGB-D camera as the camera gave it; pixels are made of it on demand, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mvista_core.records import MM_PER_M, CameraFrame, Intrinsics, UInt8, UInt16
from mvista_core.registration import StreamCalibration

JpegDecoder = Callable[[bytes], UInt8]
"""JPEG to RGB uint8 [H, W, 3]; raises ObservationError. It is handed in, since the core knows no
image library: `mvista_ros.convert.jpeg.decode_jpeg`."""


@dataclass(frozen=True, eq=False)
class Capture:
    """Colour and depth of one instant, undecoded.

    `jpeg` is the camera's own, b"" where it gives none; `native_depth_mm` uint16 [h, w] the depth
    camera's own image in whole millimetres, 0 invalid. Both as `calibration` says, which captures
    share. `stamp_ns` and `depth_stamp_ns` are capture times on the wall clock; `sequence` counts
    what the camera took: a number that is missing is a capture that was lost. `clock_residual_ns`
    is how far the camera's clock strays from the line by which it was stamped.
    """

    camera: str
    sequence: int
    stamp_ns: int
    depth_stamp_ns: int
    jpeg: bytes = field(repr=False)
    native_depth_mm: UInt16 = field(repr=False)
    calibration: StreamCalibration = field(repr=False)
    decode: JpegDecoder = field(repr=False)
    clock_residual_ns: int = 0

    @classmethod
    def of_pixels(
        cls,
        camera: str,
        pixels: UInt8,
        depth_mm: UInt16,
        intrinsics: Intrinsics,
        stamp_ns: int,
        sequence: int = 0,
    ) -> Capture:
        """Of RGB [H, W, 3] and depth [H, W] that are decoded and registered already."""
        aligned = StreamCalibration.aligned(intrinsics)
        return cls(camera, sequence, stamp_ns, stamp_ns, b"", depth_mm, aligned, lambda _: pixels)

    @property
    def intrinsics(self) -> Intrinsics:
        """Of the colour image, and so of registered depth."""
        return self.calibration.color

    def pixels(self) -> UInt8:
        """RGB uint8 [H, W, 3], as the lens sees it; decoded at the first call.

        Raises:
            ObservationError: the JPEG cannot be decoded.
        """
        return self._pixels

    @property
    def decoded(self) -> bool:
        """Whether `pixels` costs nothing any more."""
        return "_pixels" in self.__dict__

    def registered_depth_mm(self) -> UInt16:
        """Depth [H, W] registered to colour, millimetres, 0 unseen; made at the first call."""
        return self._registered_mm

    def frame(self) -> CameraFrame:
        """The same as the stack's record, depth in metres."""
        depth_m = self.registered_depth_mm().astype(np.float32) / np.float32(MM_PER_M)
        return CameraFrame(self.pixels(), depth_m, self.intrinsics, self.stamp_ns, self.camera)

    @cached_property
    def _pixels(self) -> UInt8:
        return self.decode(self.jpeg)

    @cached_property
    def _registered_mm(self) -> UInt16:
        return self.calibration.register(self.native_depth_mm)
