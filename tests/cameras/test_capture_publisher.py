"""What the capture thread sends while the executor's thread changes how."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mvista_cameras.capture_publisher_node import CapturePublisher
from mvista_core.capture import Capture
from mvista_core.records import Intrinsics
from mvista_core.timing import ManualClock

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LENS = Intrinsics(320, 180, 200.0, 200.0, 159.5, 89.5)
RATE_HZ = 5.0


class Moment(int):
    """A time at which something else is done as soon as it is reckoned with."""

    meanwhile: Any = None

    def __sub__(self, other: int) -> int:
        self.meanwhile()
        return int(self) - other


class Meanwhile(ManualClock):
    """Between what its reader asks and what it does with the answer, `done` is done."""

    done: Any = staticmethod(lambda: None)

    def monotonic_ns(self) -> int:
        moment = Moment(super().monotonic_ns())
        moment.meanwhile = self.done
        return moment


def test_previews_may_be_switched_off_at_any_moment() -> None:
    sender = SimpleNamespace(get_subscription_count=lambda: 1, publish=lambda message: None)
    node: Any = SimpleNamespace(create_publisher=lambda *_: sender)
    clock = Meanwhile(10**15)
    publisher = CapturePublisher(node, "", RATE_HZ, clock)
    pixels, depth_mm = np.zeros((180, 320, 3), np.uint8), np.zeros((180, 320), np.uint16)
    clock.done = lambda: publisher.preview_rate(0.0)
    for stamp_ns in range(1, 4):
        clock.advance(1.0)
        publisher.publish(Capture.of_pixels("cam0", pixels, depth_mm, LENS, stamp_ns))
