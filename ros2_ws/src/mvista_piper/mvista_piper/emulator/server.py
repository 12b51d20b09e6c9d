"""Serving the emulated arm on a python-can bus in real time, on the clock that is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import can

from mvista_core.errors import ConfigError, MvistaError
from mvista_core.ports import Clock
from mvista_core.signal_flag import SignalFlag
from mvista_core.timing import NS_PER_S, SystemClock
from mvista_piper.emulator.adapter import AdapterState, bus_off_error
from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.control import ADAPTER_ID, ANSWER_ID, ORDER_ID, Order
from mvista_piper.emulator.garbling import EXTENDED
from mvista_piper.emulator.loopback import LoopbackBus

_REPEAT_NS = NS_PER_S // 10


class EmulatorServer:
    """One arm on one bus: `run` it, in a thread of its own where the process has other work."""

    def __init__(self, arm: EmulatedPiper, bus: can.BusABC, clock: Clock | None = None) -> None:
        self.arm, self._bus, self._clock = arm, bus, clock or SystemClock()
        self.sent = self.unsent = self.received = 0
        self._send_frame = _sender(bus)
        self._adapter = AdapterState()
        self._say_again_ns = 0

    def run(self, stop: SignalFlag) -> None:
        """Serve until `stop` is set; it is looked at every 5 ms or more often."""
        while not stop.is_set():
            now_ns, next_ns = self._clock.monotonic_ns(), self.arm.next_ns
            if next_ns is None or now_ns >= next_ns:
                self._send(self.arm.step(now_ns))
                self._say_adapter(now_ns)
                continue
            try:
                message = self._bus.recv((next_ns - now_ns) / NS_PER_S)
            except can.CanError:
                continue
            if message is not None and not message.is_error_frame:
                self._take(message)

    def _send(self, frames: list[tuple[int, bytes]]) -> None:
        for can_id, data in frames:
            try:
                self._send_frame(can_id, data)
            except can.CanError:
                self.unsent += 1
            else:
                self.sent += 1

    def _take(self, message: can.Message) -> None:
        data = bytes(message.data)
        if not message.is_extended_id:
            self.received += 1
            self.arm.receive(message.arbitration_id, data)
        elif message.arbitration_id == ORDER_ID and len(data) == 8:
            done = True
            try:
                Order.unpack(data)[0].apply(self.arm)
            except MvistaError:
                done = False
            self._private(ANSWER_ID, bytes((data[0], int(done), 0, 0)) + data[4:])

    def _say_adapter(self, now_ns: int) -> None:
        """Tell the hosts' adapters their state: when it changes, and at 10 Hz while it is bad."""
        state = AdapterState.of(self.arm.faults)
        said = True
        if state != self._adapter:
            if state.bus_off and not self._adapter.bus_off and not self._is_loopback:
                said = self._put(bus_off_error(0.0))
        # Told again while it is bad: a bus that is opened meanwhile begins with a sound adapter.
        elif state == AdapterState() or now_ns < self._say_again_ns:
            return
        if self._is_loopback:
            said = self._private(ADAPTER_ID, state.pack())
        # A change that was not heard is told with the next period: nothing repeats the last one.
        if said:
            self._adapter = state
            self._say_again_ns = now_ns + _REPEAT_NS

    @property
    def _is_loopback(self) -> bool:
        return isinstance(self._bus, LoopbackBus)

    def _private(self, can_id: int, data: bytes) -> bool:
        return self._put(can.Message(arbitration_id=can_id, is_extended_id=True, data=data))

    def _put(self, message: can.Message) -> bool:
        """Whether the bus took it: the arm goes on serving where it did not."""
        try:
            self._bus.send(message)
        except can.CanError:
            self.unsent += 1
            return False
        return True


def _sender(bus: can.BusABC) -> Callable[[int, bytes], None]:
    if isinstance(bus, LoopbackBus):
        return bus.send_frame
    # Filled anew for each frame: python-can's virtual bus copies what it is given.
    message = can.Message(is_extended_id=False, dlc=8, data=bytes(8))

    def send(can_id: int, data: bytes) -> None:
        message.arbitration_id, message.is_extended_id = can_id & ~EXTENDED, can_id > 0x7FF
        message.data, message.dlc = bytearray(data), len(data)
        bus.send(message)

    return send


@contextmanager
def serving(
    arm: EmulatedPiper, bus: can.BusABC, clock: Clock | None = None
) -> Iterator[EmulatorServer]:
    """Serve from a thread while the block runs. The bus stays open."""
    server, stop = EmulatorServer(arm, bus, clock), SignalFlag()
    thread = threading.Thread(target=server.run, args=(stop,), name="piper_emulator", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join()


def tell(bus: can.BusABC, order: Order, timeout_s: float, clock: Clock | None = None) -> None:
    """Give a running emulator one order and wait for its answer.

    Raises:
        ConfigError: it refused. TimeoutError: none answered.
    """
    clock = clock or SystemClock()
    until_ns = clock.monotonic_ns() + round(timeout_s * NS_PER_S)
    bus.send(can.Message(arbitration_id=ORDER_ID, is_extended_id=True, data=order.pack()))
    while (left_ns := until_ns - clock.monotonic_ns()) > 0:
        message = bus.recv(left_ns / NS_PER_S)
        if message is None or message.arbitration_id != ANSWER_ID or not message.is_extended_id:
            continue
        answered, done = Order.unpack(bytes(message.data))
        if answered.name == order.name:
            if not done:
                raise ConfigError(f"the emulator refuses {order.name}={order.value:g}")
            return
    raise TimeoutError(f"no emulator answered within {timeout_s} s")
