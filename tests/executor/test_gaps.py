"""No gap between set-points is silent, whatever thread asks when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.ticker import Ticker
from mvista_core.timing import ManualClock
from mvista_executor.gaps import GAP_PERIODS, Gap, GapMeter

PERIOD_S = 0.005


@run(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0.001, 0.05), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_each_long_gap_is_told_once_with_the_late_stamp(
    steps_s: list[float], asked: list[bool]
) -> None:
    clock, meter = ManualClock(10**18), GapMeter(PERIOD_S)
    meter.tick(clock.monotonic_ns(), clock.now_ns())
    late: list[int] = []
    told: list[Gap] = []
    for step_s, ask in zip(steps_s, asked, strict=False):
        before_ns = clock.monotonic_ns()
        clock.advance(step_s)
        meter.tick(clock.monotonic_ns(), clock.now_ns())
        if clock.monotonic_ns() - before_ns > round(GAP_PERIODS * PERIOD_S * 1e9):
            late.append(clock.now_ns())
        if ask:
            told += meter.take_long()
    told += meter.take_long()
    assert [gap.stamp_ns for gap in told] == late
    assert meter.total == len(late)
    assert abs(meter.take_s() - max(steps_s)) < 1e-8
    assert meter.take_s() == 0.0


def test_a_stall_between_the_two_readings_of_a_tick_is_told() -> None:
    meter = GapMeter(PERIOD_S)
    period_ns = 5_000_000
    meter.tick(0, 10**18)
    meter.tick(2 * period_ns, 10**18 + period_ns)  # stamped, then stalled
    meter.tick(3 * period_ns, 10**18 + 3 * period_ns)
    assert [gap.seconds for gap in meter.take_long()] == [0.01, 0.01]


def test_a_late_tick_leaves_deadlines_out_and_keeps_to_the_grid() -> None:
    clock = ManualClock()
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(clock.monotonic_ns())
        if len(ticks) == 3:
            clock.advance(0.0123)
        if len(ticks) == 5:
            ticker.stop()

    ticker = Ticker(clock, PERIOD_S, tick)
    ticker.run()
    assert ticks == [0, 5_000_000, 10_000_000, 25_000_000, 30_000_000]
