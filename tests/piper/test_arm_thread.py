"""The arm's thread: it finds a real (emulated) arm by itself, and says what ended it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import can
import pytest

from mvista_core.arm import ArmModel
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_piper.arm_thread import ArmThread
from mvista_piper.driver import PiperDriver
from mvista_piper.emulator import EmulatedPiper, EmulatorSettings
from mvista_piper.emulator.server import serving
from mvista_piper.link import PiperLink
from mvista_piper.settings import PiperSettings
from mvista_piper.status import ARMED, Mode

Join = Callable[[], can.BusABC]
CLOCK = SystemClock()
PATIENT = PiperSettings(
    interface="virtual", channel="x", enable_at_start=True, stale_after_s=0.5,
    slow_stale_after_s=2.0, enable_timeout_s=20.0, mode_timeout_s=10.0,
)  # fmt: skip


@contextmanager
def running(
    join: Join, arm: ArmModel, ticked: Callable[[], None]
) -> Iterator[tuple[ArmThread, PiperDriver]]:
    driver = PiperDriver(PiperLink(join, CLOCK), arm, PATIENT, CLOCK)
    thread = ArmThread(driver, CLOCK, PATIENT.period_s, ticked)
    with serving(EmulatedPiper(EmulatorSettings(enabled=True)), join()):
        driver.open()
        thread.start()
        try:
            yield thread, driver
        finally:
            thread.stop(5.0)
            driver.close()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end_ns = CLOCK.monotonic_ns() + seconds_to_ns(seconds)
    while not condition() and CLOCK.monotonic_ns() < end_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))
    return condition()


def test_it_receives_and_ticks_and_lets_others_take_turns(virtual_bus: Join, arm: ArmModel) -> None:
    ticks: list[int] = []
    with running(virtual_bus, arm, lambda: ticks.append(CLOCK.monotonic_ns())) as (thread, driver):
        assert until(lambda: driver.mode in ARMED), driver.reason
        with thread.turn:
            count = len(ticks)
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))
            assert len(ticks) == count
        assert until(lambda: len(ticks) > count + 5)
        assert driver.mode in ARMED
    mean_s = (ticks[-1] - ticks[0]) / (len(ticks) - 1) / 1e9
    assert PATIENT.period_s * 0.99 <= mean_s


def test_what_ends_it_is_raised_where_it_can_be_told(virtual_bus: Join, arm: ArmModel) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of this program")

    with running(virtual_bus, arm, fail) as (thread, driver):
        assert until(lambda: not thread.alive)
        with pytest.raises(RuntimeError, match="a fault of this program"):
            thread.check()
        assert driver.mode is Mode.SEARCHING
