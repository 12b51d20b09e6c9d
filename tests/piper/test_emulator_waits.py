"""Waiting for a frame, and a bus that takes none for a while: the emulator's, on one clock."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from typing import Any

import can
import pytest

from mvista_core.signal_flag import SignalFlag
from mvista_core.timing import ManualClock
from mvista_piper import protocol
from mvista_piper.emulator import EmulatedPiper
from mvista_piper.emulator.adapter import BUS_OFF_ERROR_ID, AdapterState
from mvista_piper.emulator.control import ADAPTER_ID, ORDER_ID, Order
from mvista_piper.emulator.loopback import LoopbackBus
from mvista_piper.emulator.server import EmulatorServer

FILTERED, FIRST, SECOND = protocol.STATUS, *protocol.JOINT_FEEDBACK[:2]
OWN = can.Message(arbitration_id=protocol.ENABLE, is_extended_id=False, data=bytes(8))
PATIENCE_S = 20.0


class Waits:
    """`select` as the bus calls it: what it was asked to wait (s), and what comes meanwhile."""

    def __init__(self, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[float | None] = []
        self.coming: list[Callable[[], object]] = []
        self._clock, self._select = clock, select.select
        monkeypatch.setattr(select, "select", self)

    def __call__(self, *arguments: Any) -> Any:
        self.asked.append(arguments[3])
        self._clock.advance(0.25)
        self.coming.pop(0)()
        return self._select(arguments[0], [], [], PATIENCE_S)


def test_what_is_skipped_ends_no_wait(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's frame that a filter drops, an own one, the adapter's state, and what a controller
    off the bus cannot hear: `recv` without a time-out waits on, one with it until that is over."""
    clock = ManualClock(10**12)
    waits = Waits(clock, monkeypatch)
    with (
        LoopbackBus(port=port, clock=clock, skipped=frozenset({FILTERED})) as bus,
        LoopbackBus(port=port) as other,
    ):

        def says(**state: Any) -> None:
            data = AdapterState(**state).pack()
            other.send(can.Message(arbitration_id=ADAPTER_ID, is_extended_id=True, data=data))

        def sends(can_id: int) -> None:
            other.send_frame(can_id, bytes(8))

        def heard(timeout: float | None) -> int | None:
            message = bus.recv(timeout)
            return None if message is None else message.arbitration_id

        skipped: list[Callable[[], object]] = [
            lambda: sends(FILTERED),
            lambda: bus.send(OWN),
            lambda: says(sends_per_s=500),
        ]
        waits.coming = [*skipped, lambda: sends(FIRST)]
        assert heard(None) == FIRST
        assert waits.asked == [None] * 4 and bus.adapter.state.sends_per_s == 500
        waits.asked.clear()
        waits.coming = [*skipped]
        assert heard(0.7) is None
        assert waits.asked == pytest.approx([0.7, 0.45, 0.2])
        waits.coming = [
            lambda: says(bus_off=True),
            lambda: sends(FIRST),
            says,
            lambda: sends(SECOND),
        ]
        assert heard(None) == BUS_OFF_ERROR_ID
        assert heard(None) == SECOND
        waits.coming = [lambda: says(unplugged=True)]
        with pytest.raises(can.CanOperationError, match="Network is down"):
            heard(None)


class Full:
    """Of a bus: it takes nothing while it brings `frames`, nor in the period after; then it takes
    all, and the next wait ends the server."""

    def prepare(self, frames: list[can.Message], clock: ManualClock, stop: SignalFlag) -> None:
        self.frames, self.clock, self.stop = frames, clock, stop
        self.full = True
        self.taken: list[can.Message] = []

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        if self.full:
            raise can.CanOperationError("Failed to transmit", errno.ENOBUFS)
        self.taken.append(msg)

    def send_frame(self, can_id: int, data: bytes) -> None:
        self.send(can.Message(arbitration_id=can_id, is_extended_id=False, data=data))

    def recv(self, timeout: float | None = None) -> can.Message | None:
        self.clock.advance(timeout or 0.0)
        if self.frames:
            return self.frames.pop(0)
        if not self.full:
            self.stop.set()
        self.full = False
        return None


class FullLoopback(Full, LoopbackBus):
    """... of the bus that processes share."""


class FullOther(Full, can.BusABC):
    """... of another one."""

    def __init__(self) -> None:
        super().__init__(channel="other")


@pytest.mark.parametrize("shared", [True, False])
def test_a_bus_that_takes_nothing_for_a_while_ends_no_emulator(port: int, shared: bool) -> None:
    """What it had to say of the adapter is said once the bus takes it."""
    clock, stop = ManualClock(10**12), SignalFlag()
    data = Order("bus_off", 1.0).pack()
    order = can.Message(arbitration_id=ORDER_ID, is_extended_id=True, data=data)
    bus: FullLoopback | FullOther
    bus = FullLoopback(port=port) if shared else FullOther()
    with bus:
        bus.prepare([order], clock, stop)
        server = EmulatorServer(EmulatedPiper(), bus, clock)
        server.run(stop)
        assert server.arm.faults.bus_off and server.unsent >= 2
        told = [message.arbitration_id for message in bus.taken]
        assert told == [ADAPTER_ID if shared else BUS_OFF_ERROR_ID]
