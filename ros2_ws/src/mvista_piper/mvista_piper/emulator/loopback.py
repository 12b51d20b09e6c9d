"""A bus across processes of one machine: python-can's `udp_multicast` wire format on loopback.

What differs from python-can's own bus: it never leaves the machine (interface 127.0.0.1, TTL 0), so
it works without a network; frames of other groups on the same port are not heard; own frames do
not come back, as on a real adapter; packing is precomputed. Plain `udp_multicast` buses on the same
group and port are understood, and understand it.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct

import can
from can.interfaces.udp_multicast.utils import pack_message, unpack_message

from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, ns_to_seconds, seconds_to_ns
from mvista_piper.emulator.adapter import Adapter, AdapterState, bus_off_error
from mvista_piper.emulator.control import ADAPTER_ID
from mvista_piper.emulator.garbling import EXTENDED

DEFAULT_GROUP, DEFAULT_PORT = "239.74.163.2", 43113
_LOOPBACK = "127.0.0.1"
_RECEIVE_BUFFER_BYTES = 4 << 20
# asm-generic/socket.h; Python's `socket` does not name it.
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@ll")
_STAMP_ROOM = socket.CMSG_SPACE(_STAMP.size)
_LARGEST_DATAGRAM = 4096
_ID = struct.Struct(">H")


def _template() -> tuple[bytes, bytes, bytes]:
    """What surrounds the id and the data in a packed frame with an id of two bytes."""
    # From 0x100 on, as all ids of an arm: such a number msgpack packs in two bytes.
    can_id, data = 0x0765, b"\x11\x22\x33\x44\x55\x66\x77\x88"
    message = can.Message(arbitration_id=can_id, data=data, is_extended_id=False, dlc=8)
    head, _, rest = pack_message(message).partition(_ID.pack(can_id))
    middle, _, tail = rest.partition(data)
    return head, middle, tail


_HEAD, _MIDDLE, _TAIL = _template()
_ID_AT = len(_HEAD)
_MIDDLE_AT = _ID_AT + 2
_DATA_AT = _MIDDLE_AT + len(_MIDDLE)
_LENGTH = _DATA_AT + 8 + len(_TAIL)


def pack_frame(can_id: int, data: bytes) -> bytes:
    """A classic data frame (id 0x100 to 0x7FF, eight bytes) as python-can packs it."""
    return b"".join((_HEAD, _ID.pack(can_id), _MIDDLE, data, _TAIL))


class LoopbackBus(can.BusABC):
    """One process on the emulated bus; also the emulated adapter that faults act on."""

    def __init__(
        self,
        channel: str = DEFAULT_GROUP,
        port: int = DEFAULT_PORT,
        obeys_adapter_faults: bool = True,
        clock: Clock | None = None,
        skipped: frozenset[int] = frozenset(),
    ) -> None:
        """Join the multicast group `channel` (IPv4). The emulator itself obeys no adapter faults.

        Frames with an id of `skipped` are not received, as a filter of the kernel's would have it.

        Raises:
            ConfigError: no multicast address. can.CanInitializationError: the group cannot be
                joined on this machine.
        """
        try:
            multicast = ipaddress.IPv4Address(channel).is_multicast
        except ValueError:
            multicast = False
        if not multicast:
            raise ConfigError(f"'{channel}' is no IPv4 multicast group, e.g. {DEFAULT_GROUP}")
        super().__init__(channel=channel)
        self.channel_info = f"loopback multicast {channel}:{port}"
        self.adapter = Adapter()
        self._obeys = obeys_adapter_faults
        self._skipped = frozenset(_ID.pack(can_id) for can_id in skipped)
        self._clock = clock or SystemClock()
        try:
            self._in = _receiver(channel, port)
            self._out = _sender(channel, port)
        except OSError as error:
            # Else python-can complains when this half-made bus is collected.
            self._is_shutdown = True
            raise can.CanInitializationError(
                f"cannot join multicast group {channel}:{port} on loopback: {error}"
            ) from None
        self._own_address = self._out.getsockname()

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Send one frame.

        Raises:
            can.CanOperationError: the adapter refuses (ENOBUFS), or the socket does.
        """
        private = msg.is_extended_id
        if self._obeys and not private and not self.adapter.admit(self._clock.monotonic_ns()):
            return
        self._send(pack_message(msg))

    def send_frame(self, can_id: int, data: bytes) -> None:
        """Send a classic frame, mostly without a `can.Message`; `EXTENDED` marks a 29-bit id."""
        if len(data) == 8 and not can_id & EXTENDED:
            self._send(pack_frame(can_id, data))
            return
        extended = bool(can_id & EXTENDED)
        self._send(
            pack_message(
                can.Message(arbitration_id=can_id & ~EXTENDED, is_extended_id=extended, data=data)
            )
        )

    def _send(self, packed: bytes) -> None:
        try:
            self._out.send(packed)
        except OSError as error:
            raise can.CanOperationError(f"Failed to transmit: {error}", error.errno) from None

    def recv(self, timeout: float | None = None) -> can.Message | None:
        """The next frame; None: none came within `timeout` seconds (None: it waits for one).

        python-can's own counts its time-out on the wall clock.

        Raises:
            can.CanOperationError: the bus is closed, or what came is no frame.
        """
        return self._recv_internal(timeout)[0]

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        until_ns = None
        if timeout is not None:
            until_ns = self._clock.monotonic_ns() + seconds_to_ns(timeout)
        try:
            while True:
                received = self._next_datagram(until_ns)
                if received is None:
                    self.adapter.check_plugged()
                    return None, False
                message = _decode(*received)
                if self._obeys and message.is_extended_id and message.arbitration_id == ADAPTER_ID:
                    if self.adapter.change(AdapterState.unpack(bytes(message.data))):
                        return bus_off_error(message.timestamp), False
                    self.adapter.check_plugged()
                    continue
                if message.is_extended_id:
                    return message, False
                self.adapter.check_plugged()
                # A controller that is off the bus hears nothing: the wait goes on.
                if not self.adapter.state.bus_off:
                    return message, False
        except (OSError, ValueError) as error:
            raise can.CanOperationError(f"cannot receive: {error}") from None

    def _next_datagram(self, until_ns: int | None) -> tuple[bytes, float] | None:
        """The next datagram of another socket and when the kernel had it, s since the epoch; None:
        none came until then (monotonic; None: it waits for one)."""
        while True:
            try:
                raw, extra, _, address = self._in.recvmsg(_LARGEST_DATAGRAM, _STAMP_ROOM)
            except BlockingIOError:
                if not self._wait(until_ns):
                    return None
                continue
            # Multicast comes back to its sender, whose own set-points would be a second writer's.
            if address == self._own_address:
                continue
            if raw[_ID_AT:_MIDDLE_AT] in self._skipped and raw.startswith(_HEAD):
                continue
            seconds, nanoseconds = _STAMP.unpack(extra[0][2])
            return raw, seconds + nanoseconds * 1e-9

    def _wait(self, until_ns: int | None) -> bool:
        """Whether something came until then. What is skipped ends no wait, and begins none anew."""
        left_s = None
        if until_ns is not None:
            left_s = ns_to_seconds(until_ns - self._clock.monotonic_ns())
            if left_s <= 0.0:
                return False
        return bool(select.select([self._in], [], [], left_s)[0])

    def fileno(self) -> int:
        """The receiving socket, for `select`."""
        return self._in.fileno()

    def shutdown(self) -> None:
        """Leave the group and close both sockets."""
        super().shutdown()
        self._in.close()
        self._out.close()


def _decode(raw: bytes, stamp_s: float) -> can.Message:
    if len(raw) == _LENGTH and raw.startswith(_HEAD) and raw[_MIDDLE_AT:_DATA_AT] == _MIDDLE:
        return can.Message(
            timestamp=stamp_s,
            arbitration_id=_ID.unpack_from(raw, len(_HEAD))[0],
            is_extended_id=False,
            dlc=8,
            data=raw[_DATA_AT : _DATA_AT + 8],
        )
    try:
        return unpack_message(raw, replace={"timestamp": stamp_s}, check=True)
    except Exception as error:  # msgpack raises many kinds; all mean that this is no frame
        raise ValueError(f"a datagram that is no CAN frame: {error!r}") from None


def _receiver(group: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        # To the group: a socket bound to all addresses hears the other groups of this port as well.
        sock.bind((group, port))
        request = socket.inet_aton(group) + socket.inet_aton(_LOOPBACK)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _sender(group: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        interface = socket.inet_aton(_LOOPBACK)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        sock.bind((_LOOPBACK, 0))
        sock.connect((group, port))
    except OSError:
        sock.close()
        raise
    return sock
