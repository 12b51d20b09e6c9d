"""Where captures go: the tap of a camera that gives JPEGs, the topics of one that gives pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvista_cameras.outlet import Outlet
from mvista_core.capture import Capture
from mvista_core.records import Intrinsics
from mvista_core.tap import Tap, TapReader
from mvista_core.timing import ManualClock
from mvista_ros.convert.jpeg import decode_jpeg
from tests.cameras.emulated import rig

pytestmark = pytest.mark.slow

LENS = Intrinsics(32, 18, 20.0, 20.0, 15.5, 8.5)


def test_a_camera_that_gives_pixels_closes_its_tap_so_that_readers_take_its_topics(
    tmp_path: Path,
) -> None:
    """One that is connected and says nothing would be waited for in vain."""
    published: list[Capture] = []
    outlet = Outlet(published.append, 15.0, ManualClock(10**15), logs=False)
    path, camera = tmp_path / "mvista" / "0" / "cam0.sock", rig()
    outlet.tap = Tap(path, "cam0")
    with TapReader(path, decode_jpeg) as reader:
        assert reader.next(0.2) is None and reader.connected
        with_jpeg = camera.run(1.0)[-1].capture
        outlet.give(camera.source, with_jpeg)
        told = reader.next(10.0)
        assert told is not None and told.jpeg == with_jpeg.jpeg
        pixels, depth_mm = np.zeros((18, 32, 3), np.uint8), np.zeros((18, 32), np.uint16)
        outlet.give(camera.source, Capture.of_pixels("cam0", pixels, depth_mm, LENS, 7))
        assert reader.next(0.2) is None and not reader.connected
    assert len(published) == 2 and outlet.values() == ()
