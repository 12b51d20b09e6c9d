"""The thread that belongs to the arm: it receives, and ticks the driver between frames.

A timer of the middleware costs a look at everything its node waits for, 200 times a second; the
thread that reads the bus is awake as often anyway. Others take turns with the ticks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_piper.driver import PiperDriver

LONGEST_WAIT_S = 0.01


class Reader(Protocol):
    """What receives frames and does something at every tick: a driver, or a leader's reader."""

    @property
    def bus_lost(self) -> bool:
        """Whether the bus could not be read when last tried."""

    def tick(self) -> None: ...

    def receive(self, timeout_s: float) -> bool:
        """Take one frame, waiting at most so long for it; False when none came."""


class ArmThread:
    """Runs one driver. Whoever else calls it does so holding `turn`."""

    def __init__(
        self, driver: Reader, clock: Clock, period_s: float, ticked: Callable[[], None]
    ) -> None:
        """`ticked` is called on the thread after each tick, holding `turn`."""
        self.turn = threading.RLock()
        self._driver, self._clock, self._ticked = driver, clock, ticked
        self.period_ns = seconds_to_ns(period_s)
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = self._new_thread()

    def start(self) -> None:
        """Begin, also once more after `stop`."""
        if self._thread.ident is not None:
            self._thread.join()
            self._thread = self._new_thread()
        self._ended.clear()
        self._failure = None
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End after the present frame."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Raise what ended the thread, if anything did; ask from the thread that can tell it."""
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        """Receive and tick until `stop`, on the calling thread; ticks missed are left out."""
        due_ns = self._clock.monotonic_ns()
        while not self._ended.is_set():
            now_ns = self._clock.monotonic_ns()
            if now_ns >= due_ns:
                with self.turn:
                    self._driver.tick()
                    self._ticked()
                due_ns += ((now_ns - due_ns) // self.period_ns + 1) * self.period_ns
                continue
            wait_s = min(ns_to_seconds(due_ns - now_ns), LONGEST_WAIT_S)
            # A lost bus answers at once: without a pause this would spin until it is back.
            if not self._driver.receive(wait_s) and self._driver.bus_lost:
                self._ended.wait(wait_s)

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run_whole, name="arm", daemon=True)

    def _run_whole(self) -> None:
        try:
            self.run()
        # Kept for `check`: left to itself it would end this thread alone, and in silence.
        except BaseException as error:
            self._failure = error


def bring_to_rest(arm: ArmThread, driver: PiperDriver, clock: Clock, timeout_s: float) -> None:
    """Let nobody move the arm any more, and wait at most so long until it has braked."""
    with arm.turn:
        driver.deactivate()
    # The arm's thread carries the braking out, so the turn is given back while this one waits.
    until_ns = clock.monotonic_ns() + seconds_to_ns(timeout_s)
    while arm.alive and driver.braking and clock.monotonic_ns() < until_ns:
        clock.sleep_until(clock.monotonic_ns() + arm.period_ns)
