"""Previews show what the whole image shows, whichever way they were made."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mvista_cameras.emulator.camera import scaled_to
from mvista_cameras.emulator.scene import (
    COLOR_FROM_DEPTH,
    FEMTO_BOLT_COLOR,
    FEMTO_BOLT_DEPTH,
    Scene,
)
from mvista_cameras.preview import Previews, preview_factor
from mvista_core.capture import Capture
from mvista_core.errors import ObservationError
from mvista_core.imaging import reduce_color, reduce_depth
from mvista_core.records import MM_PER_M, UInt16
from mvista_core.registration import StreamCalibration
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg

LENS = scaled_to(FEMTO_BOLT_COLOR, 1280, 720)
SMALL = LENS.scaled(0.25)
SCENE = Scene()
READY_S = 20.0


@cache
def seen() -> Capture:
    """As a Bolt gives it: a JPEG, and depth in a camera of its own."""
    depth_m = SCENE.depth_m(FEMTO_BOLT_DEPTH, COLOR_FROM_DEPTH)
    return Capture(
        "cam0",
        1,
        7,
        7,
        encode_jpeg(SCENE.color(LENS), 95),
        np.rint(depth_m * MM_PER_M).astype(np.uint16),
        StreamCalibration(LENS, FEMTO_BOLT_DEPTH, COLOR_FROM_DEPTH),
        decode_jpeg,
    )


def native() -> Capture:
    """The same, of which nothing has been made yet."""
    return replace(seen())


def small_depth_mm(previews: Previews, capture: Capture) -> UInt16:
    until = time.monotonic() + READY_S
    while (found := previews.depth_mm(capture, 4)) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("size", "factor"), [((1280, 720), 4), ((3840, 2160), 12), ((320, 180), 1), ((640, 480), None)]
)
def test_previews_are_whole_parts(size: tuple[int, int], factor: int | None) -> None:
    assert preview_factor(scaled_to(FEMTO_BOLT_COLOR, *size)) == factor


def test_of_pixels_it_is_the_same_view() -> None:
    depth_mm = np.rint(SCENE.depth_m(LENS) * MM_PER_M).astype(np.uint16)
    depth_mm[::2] = 0
    capture, previews = Capture.of_pixels("cam0", SCENE.color(LENS), depth_mm, LENS, 7), Previews()
    true_mm = SCENE.depth_m(SMALL) * MM_PER_M
    flat = np.hypot(*np.gradient(true_mm)) < 8
    assert np.abs(small_depth_mm(previews, capture) - true_mm)[flat].max() < 6
    assert np.abs(previews.color(capture, 4).astype(int) - SCENE.color(SMALL)).mean() < 12


@pytest.mark.parametrize("factor", [1, 2, 4, 5, 8, 16])
def test_a_jpeg_decoded_small_is_the_whole_one_reduced(factor: int) -> None:
    capture = native()
    small = Previews().color(capture, factor).astype(int)
    assert not capture.decoded
    assert np.abs(small - reduce_color(capture.pixels(), factor)).mean() < 2
    assert np.array_equal(Previews().color(capture, factor), reduce_color(capture.pixels(), factor))


def test_native_depth_registered_small_is_the_whole_one_reduced() -> None:
    capture = native()
    small = small_depth_mm(Previews(), capture)
    whole = reduce_depth(capture.registered_depth_mm().astype(np.float32), 4)
    assert ((small > 0) == (whole > 0)).mean() > 0.98
    both = (small > 0) & (whole > 0)
    off = np.abs(small[both] - whole[both])
    assert np.median(off) < 2 and (off < 10).mean() > 0.95


def test_a_jpeg_cut_short_is_refused() -> None:
    cut = replace(native(), jpeg=native().jpeg[:5000])
    with pytest.raises(ObservationError):
        Previews().color(cut, 4)
