"""Calls what has deadlines at a fixed period, from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mvista_core.ports import Clock
from mvista_core.timing import seconds_to_ns


class Ticker:
    """`tick()` at every multiple of the period; a lateness is never carried on.

    Deadlines lie on a fixed grid: one that was missed is left out, not made up for.
    """

    def __init__(
        self,
        clock: Clock,
        period_s: float,
        tick: Callable[[], None],
        begin: Callable[[], object] = lambda: None,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        """On the thread `begin` is called once before the first tick, `failed` once it failed."""
        self._clock = clock
        self._period_ns = seconds_to_ns(period_s)
        self._tick, self._begin, self._failed = tick, begin, failed
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run_whole, name="ticker", daemon=True)

    def start(self) -> None:
        """Begin on a thread of its own."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End after the present tick."""
        self._ended.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def check(self) -> None:
        """Raise what ended the thread, if anything did; ask from the thread that can tell it."""
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        """Tick until `stop`, on the calling thread. An exception ends it and is raised."""
        self._begin()
        due_ns = self._clock.monotonic_ns()
        while not self._ended.is_set():
            self._tick()
            late_ns = self._clock.monotonic_ns() - due_ns
            due_ns += max(1, late_ns // self._period_ns + 1) * self._period_ns
            self._clock.sleep_until(due_ns)

    def _run_whole(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._failure = error
            self._failed()
