"""Small pictures of a capture, for people: whole-number reductions at a fraction of its cost.

A JPEG is decoded at the reduced size, and of native depth every second pixel or so goes straight
into the small image; where pixels are there already, colour is averaged and depth takes the middle
valid value (mvista_core.imaging says why).
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from mvista_core.capture import Capture
from mvista_core.errors import CameraError
from mvista_core.imaging import reduce_color, reduce_depth
from mvista_core.records import Intrinsics, UInt8, UInt16
from mvista_core.registration import Registration, StreamCalibration
from mvista_ros.convert.jpeg import decode_jpeg

WIDTH_PX, HEIGHT_PX = 320, 180


def preview_factor(lens: Intrinsics) -> int | None:
    """How many pixels become one, or None where 320x180 is no whole part of the image."""
    factor = lens.width_px // WIDTH_PX
    if factor and (lens.width_px, lens.height_px) == (WIDTH_PX * factor, HEIGHT_PX * factor):
        return factor
    return None


class Previews:
    """Of one camera's captures; one thread at a time."""

    def __init__(self) -> None:
        self._calibration: StreamCalibration | None = None
        self._made: _SmallDepth | None = None
        self._failed: CameraError | None = None
        self._maker: threading.Thread | None = None

    def color(self, capture: Capture, factor: int) -> UInt8:
        """RGB [H, W, 3] at 1/`factor` of the image's size.

        Raises:
            ObservationError: the JPEG cannot be decoded.
        """
        if capture.decoded or not capture.jpeg:
            return reduce_color(capture.pixels(), factor)
        # libjpeg leaves out what a smaller image does not show, by 2, 4 and 8.
        within = next(part for part in (8, 4, 2, 1) if factor % part == 0)
        return reduce_color(decode_jpeg(capture.jpeg, within), factor // within)

    def depth_mm(self, capture: Capture, factor: int) -> UInt16 | None:
        """Registered depth at 1/`factor` of the image's size; None while that is prepared.

        Raises:
            CameraError: the calibration puts no depth pixel into the colour image.
        """
        if capture.calibration.is_aligned:
            depth_mm = capture.native_depth_mm.astype(np.float32)
            return reduce_depth(depth_mm, factor).astype(np.uint16)
        if not capture.calibration.same_as(self._calibration):
            self._prepare(capture.calibration, factor)
        if self._failed is not None:
            raise self._failed
        return None if self._made is None else self._made.of(capture.native_depth_mm)

    def _prepare(self, calibration: StreamCalibration, factor: int) -> None:
        """In a thread of its own: the camera does not wait for it."""
        # A newer calibration waits for the one in hand: the next capture asks for it again.
        if self._maker is not None and self._maker.is_alive():
            return
        self._calibration, self._made, self._failed = calibration, None, None

        def make() -> None:
            try:
                self._made = _SmallDepth(calibration, factor)
            except CameraError as error:
                self._failed = error

        self._maker = threading.Thread(target=make, name="preview of depth", daemon=True)
        self._maker.start()


class _SmallDepth:
    """Registration of every so manieth depth pixel, about one for each pixel of the preview."""

    def __init__(self, calibration: StreamCalibration, factor: int) -> None:
        color, depth = calibration.color.scaled(1.0 / factor), calibration.depth
        self._step = max(1, int(depth.fx_px / color.fx_px))
        step, rows, columns = self._step, depth.height_px, depth.width_px
        # Every `step`-th pixel is taken, not averaged: its centre stays where it was, so the
        # principal point is divided without the half pixel of `Intrinsics.scaled`.
        thinned = replace(
            depth,
            width_px=-(-columns // step),
            height_px=-(-rows // step),
            fx_px=depth.fx_px / step,
            fy_px=depth.fy_px / step,
            cx_px=depth.cx_px / step,
            cy_px=depth.cy_px / step,
        )
        transform = calibration.color_from_depth
        self._registration = Registration(StreamCalibration(color, thinned, transform))

    def of(self, native_mm: UInt16) -> UInt16:
        return self._registration.register(native_mm[:: self._step, :: self._step])
