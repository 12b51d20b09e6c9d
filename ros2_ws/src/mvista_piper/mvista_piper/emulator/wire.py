"""A bus in this process, without threads or sockets: the emulated arm and its hosts, stepped.

`EmulatedWire.open` gives python-can buses; `pump` lets the arm run up to the clock's present. With
a `ManualClock` every test is exact.
"""

from __future__ import annotations

import queue
import threading

import can

from mvista_core.ports import Clock
from mvista_core.timing import NS_PER_S
from mvista_piper.emulator.adapter import Adapter, AdapterState, bus_off_error
from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.garbling import EXTENDED

_FRAMES_KEPT = 20_000


class EmulatedWire:
    """One arm and any number of hosts on one bus."""

    def __init__(self, arm: EmulatedPiper, clock: Clock) -> None:
        self.arm, self.clock = arm, clock
        self._hosts: list[WireBus] = []
        self._lock = threading.Lock()

    def open(self) -> WireBus:
        """A new host on the bus; `shutdown` takes it off."""
        host = WireBus(self)
        with self._lock:
            self._hosts.append(host)
        return host

    def pump(self) -> int:
        """Let the arm run up to the present; the number of frames that it sent."""
        with self._lock:
            frames = self.arm.step(self.clock.monotonic_ns())
            # Wall time, as the kernel stamps frames: `BusTime` takes it to the monotonic clock.
            state, stamp_s = AdapterState.of(self.arm.faults), self.clock.now_ns() / NS_PER_S
            for host in self._hosts:
                if host.adapter.change(state):
                    host.deliver(bus_off_error(stamp_s))
            for can_id, data in frames:
                for host in self._hosts:
                    host.deliver(_message(can_id, data, stamp_s))
        return len(frames)

    def _sent(self, sender: WireBus, message: can.Message) -> None:
        with self._lock:
            stamp_s = self.clock.now_ns() / NS_PER_S
            if sender.adapter.change(AdapterState.of(self.arm.faults)):
                sender.deliver(bus_off_error(stamp_s))
            if not sender.adapter.admit(self.clock.monotonic_ns()):
                return
            data = bytes(message.data)
            # An id of 29 bits is not the arm's, whatever its lower eleven say.
            if not message.is_extended_id:
                self.arm.receive(message.arbitration_id, data)
            can_id = message.arbitration_id | (EXTENDED if message.is_extended_id else 0)
            for host in self._hosts:
                if host is not sender:
                    host.deliver(_message(can_id, data, stamp_s))

    def _left(self, host: WireBus) -> None:
        with self._lock:
            if host in self._hosts:
                self._hosts.remove(host)


class WireBus(can.BusABC):
    """One host's bus: python-can's interface on an `EmulatedWire`."""

    def __init__(self, wire: EmulatedWire) -> None:
        super().__init__(channel="emulated")
        self.channel_info = "emulated Piper"
        self.adapter = Adapter()
        self._wire = wire
        self._arrived: queue.Queue[can.Message] = queue.Queue(_FRAMES_KEPT)

    def deliver(self, message: can.Message) -> None:
        """A frame has arrived; the oldest is lost when nobody reads."""
        if self._arrived.full():
            self._arrived.get_nowait()
        self._arrived.put_nowait(message)

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Put a frame on the wire.

        Raises:
            can.CanOperationError: the bus is closed, or its adapter refuses (ENOBUFS).
        """
        if self._is_shutdown:
            raise can.CanOperationError("Cannot operate on a closed bus")
        self._wire._sent(self, msg)

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if self._is_shutdown:
            raise can.CanOperationError("Cannot operate on a closed bus")
        self.adapter.check_plugged()
        try:
            if timeout == 0:
                return self._arrived.get_nowait(), False
            return self._arrived.get(timeout=timeout), False
        except queue.Empty:
            return None, False

    def shutdown(self) -> None:
        """Leave the wire."""
        super().shutdown()
        self._wire._left(self)


def _message(can_id: int, data: bytes, stamp_s: float) -> can.Message:
    return can.Message(
        timestamp=stamp_s,
        arbitration_id=can_id & ~EXTENDED,
        is_extended_id=bool(can_id & EXTENDED),
        dlc=len(data),
        data=data,
    )
