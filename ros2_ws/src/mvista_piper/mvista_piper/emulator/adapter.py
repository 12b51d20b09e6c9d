"""The host's side of an emulated bus: what its CAN adapter refuses, as Linux would.

A full transmit queue and a controller that went off the bus look the same to a sender: the first
frames still fit the queue (`txqueuelen` 10), every later one fails with ENOBUFS.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

import can

from mvista_core.timing import NS_PER_S
from mvista_piper.emulator.faults import Faults

BUS_OFF_ERROR_ID = 0x40
"""`CAN_ERR_BUSOFF` of linux/can/error.h: the error frame that announces it."""
TRANSMIT_QUEUE = 10
_STATE = struct.Struct(">BxHxxxx")
_OFF, _REFUSE, _UNPLUGGED = 1, 2, 4


@dataclass(frozen=True)
class AdapterState:
    """What the adapter does wrong now."""

    bus_off: bool = False
    refuse_sends: bool = False
    sends_per_s: int = 0
    unplugged: bool = False

    @classmethod
    def of(cls, faults: Faults) -> AdapterState:
        return cls(faults.bus_off, faults.refuse_sends, faults.sends_per_s, faults.unplugged)

    def pack(self) -> bytes:
        """Eight bytes for the private frame that tells it to other processes."""
        flags = (_OFF if self.bus_off else 0) | (_REFUSE if self.refuse_sends else 0)
        flags |= _UNPLUGGED if self.unplugged else 0
        return _STATE.pack(flags, self.sends_per_s)

    @classmethod
    def unpack(cls, data: bytes) -> AdapterState:
        flags, rate = _STATE.unpack(data)
        return cls(bool(flags & _OFF), bool(flags & _REFUSE), rate, bool(flags & _UNPLUGGED))


class Adapter:
    """One adapter: lets frames pass, or raises what python-can's socketcan would."""

    def __init__(self) -> None:
        self._state = AdapterState()
        self._queued = 0
        self._sent_until_ns = 0

    @property
    def state(self) -> AdapterState:
        return self._state

    def change(self, state: AdapterState) -> bool:
        """Take a new state; True when the controller has just gone off the bus."""
        went_off = state.bus_off and not self._state.bus_off
        # A bad state is told again and again: only its beginning and its end empty the queue.
        if went_off or not state.bus_off:
            self._queued = 0
        self._state = state
        return went_off

    def admit(self, now_ns: int) -> bool:
        """Whether a frame reaches the wire; False: it lies in the queue of a dead controller.

        Raises:
            can.CanOperationError: ENOBUFS, ENETDOWN.
        """
        state = self._state
        self.check_plugged()
        if state.bus_off and self._queued < TRANSMIT_QUEUE:
            self._queued += 1
            return False
        if state.bus_off or state.refuse_sends or self._too_many(now_ns):
            raise can.CanOperationError(
                "Failed to transmit: [Errno 105] No buffer space available", errno.ENOBUFS
            )
        return True

    def check_plugged(self) -> None:
        """Raises can.CanOperationError: ENETDOWN, as reading and sending on Linux do then."""
        if self._state.unplugged:
            raise can.CanOperationError("[Errno 100] Network is down", errno.ENETDOWN)

    def _too_many(self, now_ns: int) -> bool:
        if not self._state.sends_per_s:
            return False
        frame_ns = NS_PER_S // self._state.sends_per_s
        # The queue, counted in time: when the last frame in it will have left.
        start_ns = max(self._sent_until_ns, now_ns)
        if start_ns - now_ns > frame_ns * TRANSMIT_QUEUE:
            return True
        self._sent_until_ns = start_ns + frame_ns
        return False


def bus_off_error(timestamp_s: float) -> can.Message:
    """The error frame that the host's socket delivers once."""
    return can.Message(
        timestamp=timestamp_s,
        arbitration_id=BUS_OFF_ERROR_ID,
        is_error_frame=True,
        is_extended_id=False,
        dlc=8,
        data=bytes(8),
    )
