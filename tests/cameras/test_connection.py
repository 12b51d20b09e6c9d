"""When a camera is opened, given up, and opened again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_cameras.connection import Connection, ConnectionTimes, Phase, Step
from mvista_core.timing import NS_PER_S, ManualClock

TIMES = ConnectionTimes(
    start_delay_s=4.0, first_image_s=6.0, silence_s=1.0, retry_s=0.5, longest_retry_s=5.0
)


def connection(clock: ManualClock) -> Connection:
    return Connection(TIMES, clock.monotonic_ns())


def streaming(clock: ManualClock) -> Connection:
    made = connection(clock)
    clock.advance(4.0)
    assert made.next(clock.monotonic_ns()) is Step.OPEN
    made.opened(clock.monotonic_ns())
    made.image(clock.monotonic_ns())
    return made


def test_it_waits_for_its_turn() -> None:
    clock = ManualClock()
    made = connection(clock)
    assert made.next(clock.monotonic_ns()) is Step.WAIT
    assert made.wait_s(clock.monotonic_ns()) == 4.0
    clock.advance(4.0)
    assert made.next(clock.monotonic_ns()) is Step.OPEN


def test_the_first_image_may_take_longer_than_the_next() -> None:
    clock = ManualClock()
    made = connection(clock)
    made.opened(clock.monotonic_ns())
    clock.advance(5.9)
    assert made.next(clock.monotonic_ns()) is Step.READ
    made.image(clock.monotonic_ns())
    clock.advance(1.1)
    assert made.next(clock.monotonic_ns()) is Step.CLOSE
    assert made.silence(clock.monotonic_ns()).startswith("no image for 1.1 s")


def test_retries_come_ever_later_up_to_a_limit() -> None:
    clock = ManualClock()
    made = connection(clock)
    waits = []
    for _ in range(6):
        made.failed("refused", clock.monotonic_ns())
        waits.append(made.wait_s(clock.monotonic_ns()))
        clock.advance(waits[-1])
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_an_image_forgives_earlier_failures() -> None:
    clock = ManualClock()
    made = streaming(clock)
    made.failed("gone", clock.monotonic_ns())
    assert (made.losses, made.reason, made.phase) == (1, "gone", Phase.WAITING)
    clock.advance(0.5)
    made.opened(clock.monotonic_ns())
    made.image(clock.monotonic_ns())
    assert made.reason == ""
    made.failed("gone", clock.monotonic_ns())
    assert made.wait_s(clock.monotonic_ns()) == pytest.approx(0.5)
    assert made.losses == 2


@given(st.lists(st.sampled_from(["image", "silence", "fail", "tick"]), max_size=40))
def test_it_never_reads_what_is_not_open_nor_opens_what_is(events: list[str]) -> None:
    clock = ManualClock()
    made, is_open = connection(clock), False
    for event in events:
        step = made.next(clock.monotonic_ns())
        assert (step in (Step.READ, Step.CLOSE)) == is_open
        if step is Step.OPEN and event != "fail":
            made.opened(clock.monotonic_ns())
            is_open = True
        elif step is Step.CLOSE or event == "fail":
            made.failed("x", clock.monotonic_ns())
            is_open = False
        elif step is Step.READ and event == "image":
            made.image(clock.monotonic_ns())
        clock.sleep_until(
            clock.monotonic_ns() + (2 * NS_PER_S if event == "silence" else NS_PER_S // 15)
        )
