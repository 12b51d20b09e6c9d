"""The age of what was seen: by its stamps when it was taken, by the steady clock since."""

from __future__ import annotations

import pytest

from mvista_core.timing import seconds_to_ns
from mvista_ros.age import Age
from tests.ros.test_observation import Cell

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("step_s", [0.0, -17.0, 3600.0])
def test_an_age_grows_with_the_steady_clock_alone(step_s: float) -> None:
    cell = Cell()
    seen = cell.wait()
    oldest_ns = min(frame.stamp_ns for frame in seen.frames)
    age = Age.of(seen, cell.clock)
    at_once_s = (cell.clock.now_ns() - oldest_ns) / 1e9
    assert age.seconds() == pytest.approx(at_once_s) and 0.03 <= at_once_s < 0.2
    cell.clock.step(step_s)
    cell.clock.sleep_until(cell.clock.monotonic_ns() + seconds_to_ns(12.0))
    assert age.seconds() == pytest.approx(at_once_s + 12.0)
