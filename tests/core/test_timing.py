"""The clock that tests turn by hand obeys the laws of the real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.timing import ManualClock, SystemClock, ns_to_seconds, seconds_to_ns


@given(st.lists(st.floats(0.0, 10.0), max_size=10))
def test_time_never_goes_back(steps_s: list[float]) -> None:
    clock = ManualClock(start_ns=5)
    seen = [clock.monotonic_ns()]
    for step_s in steps_s:
        clock.advance(step_s)
        seen.append(clock.monotonic_ns())
    assert seen == sorted(seen)
    assert seen[-1] == 5 + sum(seconds_to_ns(step_s) for step_s in steps_s)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_sleeping_ends_at_the_deadline_or_at_once(start_ns: int, deadline_ns: int) -> None:
    clock = ManualClock(start_ns)
    clock.sleep_until(deadline_ns)
    assert clock.monotonic_ns() == max(start_ns, deadline_ns)


def test_a_clock_cannot_be_turned_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        ManualClock().advance(-0.1)


@given(st.integers(-(10**15), 10**15))
def test_seconds_and_nanoseconds_round_trip(nanoseconds: int) -> None:
    assert seconds_to_ns(ns_to_seconds(nanoseconds)) == nanoseconds


def test_the_system_clock_sleeps_until_its_deadline() -> None:
    clock = SystemClock()
    deadline_ns = clock.monotonic_ns() + seconds_to_ns(0.01)
    clock.sleep_until(deadline_ns)
    assert clock.monotonic_ns() >= deadline_ns
    clock.sleep_until(0)  # long past: returns at once
