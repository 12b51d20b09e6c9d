"""Real-time scheduling: inherited by later threads, refused with a reason."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator

import pytest

from mvista_core import realtime


def test_nothing_is_asked_for_at_priority_zero() -> None:
    before = os.sched_getscheduler(0)
    assert realtime.claim(0) == ""
    assert os.sched_getscheduler(0) == before


def test_an_impossible_priority_is_refused_with_a_reason() -> None:
    assert "100 was refused" in realtime.claim(100)


def test_threads_started_afterwards_inherit_it_and_the_caller_alone_is_changed() -> None:
    found: list[int] = []
    refused: list[str] = []

    def work() -> None:
        refused.append(realtime.claim(1))
        child = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        child.start()
        child.join()

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    if refused[0]:
        pytest.skip(refused[0])
    assert found == [os.SCHED_FIFO]
    assert os.sched_getscheduler(0) != os.SCHED_FIFO


def test_giving_way_holds_for_the_caller_and_its_threads_and_is_never_taken_back() -> None:
    found: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work() -> None:
        realtime.give_way(before + 1)
        realtime.give_way(before)
        child = threading.Thread(target=lambda: found.append(nice()))
        child.start()
        child.join()
        found.append(nice())

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert found == [min(before + 1, 19)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_released_threads_are_ordinary_again() -> None:
    found: list[int] = []

    def work() -> None:
        realtime.claim(1)
        realtime.release()
        found.append(os.sched_getscheduler(0))

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert found == [os.SCHED_OTHER]


class _Knot:
    """Keeps itself alive."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def frozen() -> Iterator[None]:
    realtime.freeze_collector()
    yield
    realtime.thaw_collector()


def test_what_is_made_and_lost_between_two_collections_is_collected(frozen: None) -> None:
    collector, knot = realtime.YoungCollector(), _Knot()
    gone = weakref.ref(knot)
    del knot
    assert gone() is not None
    assert collector.collect() and gone() is None


def test_while_much_is_alive_it_waits_and_not_for_ever(frozen: None) -> None:
    """As a large message: alive while it is read, then gone."""
    collector = realtime.YoungCollector()
    collector.collect()
    message = [[index] for index in range(2 * realtime.MANY_YOUNG)]
    knot = weakref.ref(_Knot())
    assert not collector.collect() and knot() is not None
    del message
    assert collector.collect() and knot() is None
    message = [[index] for index in range(2 * realtime.MANY_YOUNG)]
    told = [collector.collect() for _ in range(realtime.MOST_PUT_OFF + 2)]
    assert told == [False] * realtime.MOST_PUT_OFF + [True, True]
    assert len(message) == 2 * realtime.MANY_YOUNG
