"""A flag that a signal handler sets: seen by every waiter, and set within its own setting."""

from __future__ import annotations

import signal
import threading

from mvista_core.signal_flag import SignalFlag


def test_it_is_what_an_event_is() -> None:
    flag = SignalFlag()
    assert not flag.is_set() and not flag.wait(0.0)
    seen: list[bool] = []
    waiting = [threading.Thread(target=lambda: seen.append(flag.wait(20.0))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    flag.set()
    for thread in waiting:
        thread.join()
    assert seen == [True] * 3 and flag.is_set() and flag.wait(0.0) and flag.wait()


def test_a_handler_may_be_interrupted_by_itself() -> None:
    """At every depth: each setting raises the signal again, until fifty are one in another."""
    flag, depth = SignalFlag(), 0

    def handler(number: int, frame: object) -> None:
        nonlocal depth
        depth += 1
        if depth < 50:
            signal.raise_signal(number)
        flag.set()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert depth == 50 and flag.wait(0.0)
