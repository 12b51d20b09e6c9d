"""The watch looks at the newest colour that has depth of its instant."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mvista_calibration_ros.drift_frames import newest_frame
from mvista_core.records import Intrinsics
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.image_bytes import ReceivedImage
from mvista_ros.observation import PAIRING_TOLERANCE_S

LENS = Intrinsics(4, 3, 4.0, 4.0, 1.5, 1.0)
TOLERANCE_NS = seconds_to_ns(PAIRING_TOLERANCE_S)
STAMPS = st.lists(st.integers(0, 40 * TOLERANCE_NS), max_size=8, unique=True).map(sorted)


def color(stamp_ns: int) -> ReceivedImage:
    return ReceivedImage(stamp_ns, "cam0", "rgb8", np.zeros((3, 4, 3), np.uint8))


def depth(stamp_ns: int, millimetres: int = 1234) -> ReceivedImage:
    return ReceivedImage(stamp_ns, "cam0", "16UC1", np.full((3, 4), millimetres, np.uint16))


@given(colors=STAMPS, depths=STAMPS)
def test_the_newest_colour_with_depth_of_its_instant(colors: list[int], depths: list[int]) -> None:
    frame = newest_frame("cam0", LENS, [*map(color, colors)], [*map(depth, depths)])
    paired = [c for c in colors if any(abs(c - d) <= TOLERANCE_NS for d in depths)]
    assert (None if frame is None else frame.stamp_ns) == max(paired, default=None)


def test_of_depth_that_fits_the_last_that_came_in_metres() -> None:
    depths = [depth(0, 900), depth(TOLERANCE_NS, 1000), depth(3 * TOLERANCE_NS, 1100)]
    frame = newest_frame("cam0", LENS, [color(TOLERANCE_NS)], depths)
    assert frame is not None and frame.camera == "cam0" and frame.intrinsics == LENS
    np.testing.assert_allclose(frame.depth_m, 1.0, atol=1e-6)
