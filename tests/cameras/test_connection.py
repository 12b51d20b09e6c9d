"""When a camera is opened, given up, and opened again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_cameras.connection import SETTLED_S, Connection, ConnectionTimes, Phase, Step
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


def test_steady_images_forgive_earlier_failures_and_single_ones_do_not() -> None:
    clock = ManualClock()
    made = streaming(clock)
    for pause_s in (0.5, 1.0, 2.0):
        made.failed("gone", clock.monotonic_ns())
        assert (made.reason, made.phase) == ("gone", Phase.WAITING)
        assert made.wait_s(clock.monotonic_ns()) == pytest.approx(pause_s)
        clock.advance(pause_s)
        made.opened(clock.monotonic_ns())
        made.image(clock.monotonic_ns())
        assert made.reason == ""
    clock.advance(SETTLED_S)
    made.image(clock.monotonic_ns())
    made.failed("gone", clock.monotonic_ns())
    assert made.wait_s(clock.monotonic_ns()) == pytest.approx(0.5)
    assert made.losses == 4


def test_starts_in_vain_are_bounded_until_it_was_unplugged() -> None:
    clock = ManualClock()
    made, opened_s = connection(clock), []
    for _ in range(3000):
        step = made.next(clock.monotonic_ns())
        if step is Step.OPEN:
            made.started()
            made.opened(clock.monotonic_ns())
            opened_s.append(clock.monotonic_ns() / NS_PER_S)
        elif step is Step.CLOSE:
            made.failed("no depth", clock.monotonic_ns())
        elif step is Step.LOOK:
            made.still_there(clock.monotonic_ns())
        clock.advance(0.1)
    assert len(opened_s) == TIMES.most_starts and made.phase is Phase.LEFT_ALONE
    pauses_s = np.diff(opened_s) - TIMES.first_image_s
    assert (np.diff(pauses_s) > 0).all()
    assert "left alone after 5 starts" in made.reason and "12 V supply off and on" in made.reason
    made.vanished(clock.monotonic_ns())
    clock.advance(TIMES.retry_s)
    assert made.next(clock.monotonic_ns()) is Step.OPEN and made.starts == 0


def test_only_a_silent_stream_is_a_reason_to_start_anew() -> None:
    """Images that come and cannot be used are told, and change nothing about the connection."""
    clock = ManualClock()
    made = Connection(TIMES, clock.monotonic_ns(), ("colour", "depth"))
    made.opened(clock.monotonic_ns())
    for _ in range(600):
        clock.advance(0.1)
        made.heard("colour", clock.monotonic_ns())
        made.heard("depth", clock.monotonic_ns())
        assert made.next(clock.monotonic_ns()) is Step.READ
    assert made.unusable_s(clock.monotonic_ns()) == pytest.approx(60.0)
    for _ in range(70):
        clock.advance(0.1)
        made.heard("colour", clock.monotonic_ns())
    assert made.next(clock.monotonic_ns()) is Step.CLOSE
    said = made.silence(clock.monotonic_ns())
    assert said.startswith("no first depth image for 7.0 s while colour comes") and "V" not in said


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
