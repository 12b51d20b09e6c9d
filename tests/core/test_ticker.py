"""Deadlines lie on a grid, whatever a tick costs."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.ticker import Ticker
from mvista_core.timing import ManualClock, SystemClock, seconds_to_ns

PERIOD_S = 0.005
PERIOD_NS = 5_000_000


def ticked(costs_s: list[float]) -> list[int]:
    """When a ticker ticks whose ticks cost so much."""
    clock, at_ns = ManualClock(10**9), list[int]()

    def tick() -> None:
        at_ns.append(clock.monotonic_ns())
        clock.advance(costs_s[len(at_ns) - 1])
        if len(at_ns) == len(costs_s):
            ticker.stop()

    ticker = Ticker(clock, PERIOD_S, tick)
    ticker.run()
    return at_ns


@run(max_examples=50, deadline=None, derandomize=True)
@given(costs_s=st.lists(st.floats(0.0, 0.02), min_size=2, max_size=40))
def test_ticks_lie_on_the_grid_and_none_is_made_up_for(costs_s: list[float]) -> None:
    at_ns = ticked(costs_s)
    for before_ns, next_ns, cost_s in zip(at_ns, at_ns[1:], costs_s, strict=False):
        assert (next_ns - at_ns[0]) % PERIOD_NS == 0
        missed = seconds_to_ns(cost_s) // PERIOD_NS
        assert next_ns - before_ns == (missed + 1) * PERIOD_NS


def test_a_ticker_ends_from_another_thread() -> None:
    ticks: list[int] = []
    ticker = Ticker(SystemClock(), PERIOD_S, lambda: ticks.append(1), lambda: ticks.append(0))
    ticker.start()
    while len(ticks) < 4:
        SystemClock().sleep_until(SystemClock().monotonic_ns() + PERIOD_NS)
    ticker.stop()
    count = len(ticks)
    assert ticks[0] == 0 and all(ticks[1:])
    SystemClock().sleep_until(SystemClock().monotonic_ns() + 4 * PERIOD_NS)
    assert len(ticks) == count


def test_a_tick_that_fails_ends_the_thread_and_is_told() -> None:
    failed = threading.Event()

    def tick() -> None:
        raise RuntimeError("no tick")

    ticker = Ticker(SystemClock(), PERIOD_S, tick, failed=failed.set)
    ticker.check()
    ticker.start()
    assert failed.wait(10.0)
    with pytest.raises(RuntimeError, match="no tick"):
        ticker.check()
