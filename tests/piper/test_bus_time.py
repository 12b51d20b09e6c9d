"""A frame keeps its age: how long it waited, whatever the wall clock did meanwhile."""

from __future__ import annotations

import pytest

from mvista_core.timing import NS_PER_S, ns_to_seconds
from mvista_piper.bus_time import BusTime
from tests.piper.cell import WallClock


class Bus:
    """A bus whose frames are stamped by the wall clock when they come and read later."""

    def __init__(self) -> None:
        self.clock = WallClock(10**12)
        self.clock.stepped_ns = 7 * 10**17
        self.time = BusTime(self.clock)

    def frame(self) -> tuple[float, int]:
        return self.clock.now_ns() / NS_PER_S, self.clock.monotonic_ns()

    def age_s(self, stamp_s: float) -> float:
        return ns_to_seconds(self.clock.monotonic_ns() - self.time.stamp(stamp_s).monotonic_ns)

    def step(self, seconds: float) -> None:
        self.clock.stepped_ns += round(seconds * NS_PER_S)


@pytest.mark.parametrize("waited_s", [0.0, 0.004, 0.2, 0.6, 5.0, 3600.0])
def test_a_frame_that_waited_is_as_old_as_it_is(waited_s: float) -> None:
    bus = Bus()
    bus.clock.advance(1.0)
    stamp_s, then_ns = bus.frame()
    bus.clock.advance(waited_s)
    stamp = bus.time.stamp(stamp_s)
    assert stamp.monotonic_ns == pytest.approx(then_ns, abs=1000)
    assert bus.clock.now_ns() - stamp.wall_ns == pytest.approx(waited_s * 1e9, abs=1000)


@pytest.mark.parametrize("step_s", [-3600.0, -17.0, -1.0, -0.1, 0.1, 1.0, 17.0, 3600.0])
@pytest.mark.parametrize("waited_s", [0.01, 2.0])
def test_a_step_of_the_wall_clock_changes_no_age(step_s: float, waited_s: float) -> None:
    """A process that was not run finds frames from before the step and from after it."""
    bus = Bus()
    bus.clock.advance(1.0)
    assert bus.age_s(bus.frame()[0]) == pytest.approx(0.0, abs=1e-6)
    waiting = []
    for stepped in (False, True):
        for _ in range(round(waited_s / 0.005)):
            waiting.append(bus.frame())
            bus.clock.advance(0.005)
        if not stepped:
            bus.step(step_s)
    for stamp_s, then_ns in waiting:
        assert bus.time.stamp(stamp_s).monotonic_ns == pytest.approx(then_ns, abs=10_000)
    bus.clock.advance(0.005)
    assert bus.age_s(bus.frame()[0]) == pytest.approx(0.0, abs=1e-5)


def test_after_a_step_with_nothing_waiting_the_next_frame_is_new() -> None:
    bus = Bus()
    bus.step(-1.0)
    bus.clock.advance(5.0)
    bus.time.caught_up()
    assert bus.age_s(bus.frame()[0]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("step_s", [-17.0, 17.0])
def test_stamps_that_do_not_follow_a_step_are_of_another_clock(step_s: float) -> None:
    """Nothing waited a moment ago: whatever the stamp says, the frame is younger than that."""
    bus = Bus()
    bus.clock.advance(60.0)
    bus.step(step_s)
    bus.time.caught_up()
    bus.clock.advance(0.01)
    assert bus.age_s(bus.frame()[0] - step_s) == 0.0


def test_a_bus_with_another_clock_gives_frames_that_are_new() -> None:
    """A simulated clock, an error frame without a stamp: nothing is known, and nothing stays."""
    bus = Bus()
    for stamp_s in (0.0, 12.5, 4e9):
        assert bus.age_s(stamp_s) == 0.0
    bus.clock.advance(1.0)
    stamp_s, _ = bus.frame()
    bus.clock.advance(0.7)
    assert bus.age_s(stamp_s) == pytest.approx(0.7, abs=1e-5)
