"""One arm's bus with piper_sdk on top: frames in, commands out, all counted.

The SDK encodes and decodes. It does not own the bus: its own reader opens two sockets, hides send
failures in a log line, ends at the first read error, and stamps three joint frames with one stamp
(robot_stack 1.4). So this link reads, sends and stamps, and hands the SDK every frame.

Two frames are never sent from here, whatever the caller asks: disable (0x471, byte 1 = 1) and
reset (0x150, byte 0 = 2). Both cut the motors' power, and a raised arm falls.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import can
import numpy as np
from piper_sdk import C_PiperInterface_V2, LogLevel

from mvista_core.errors import BusLostError
from mvista_core.ports import Clock
from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S, seconds_to_ns

COMMAND_IDS = frozenset({*range(0x150, 0x160), 0x470, 0x471, 0x474, 0x475})
"""Frames that move or configure an arm: a second sender of these is a second driver."""
ENABLE_ID, STOP_ID = 0x471, 0x150
DISABLE_FLAG, RESET_FLAG = 1, 2

CAN_CONTROL = 1
MOVE_J = 1
HIGH_FOLLOW = 0xAD
FULL_SPEED_PERCENT = 100
ALL_MOTORS = 7
ENABLE_GRIPPER = 1
FOLLOWER = 0xFC
QUICK_STOP = 1
UNCHANGED, CONFIRM = 0x7FFF, 0xAE
ASK_COLLISION_LEVEL = 2

_OLDEST_STAMP_NS = seconds_to_ns(0.5)
_ECHO_WITHIN_NS = seconds_to_ns(1.0)
_OWN_FRAMES_KEPT = 4000
_instances = itertools.count()


@dataclass(frozen=True)
class Stamp:
    """When a frame was on the bus: wall time for records, monotonic time for intervals."""

    wall_ns: int
    monotonic_ns: int


@dataclass(frozen=True)
class LinkCounters:
    """Frames since the link was opened."""

    received: int
    sent: int
    failed: int
    failed_in_a_row: int
    last_error: str
    foreign: int
    last_foreign_id: int
    last_foreign_ns: int | None


class _SendSide(can.BusABC):
    """What the SDK takes for its bus; every frame it encodes comes out at `send`."""

    def __init__(self, out: Callable[[can.Message], None]) -> None:
        super().__init__(channel="mvista_piper")
        self._out = out

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        self._out(msg)

    @property
    def state(self) -> can.BusState:
        """Always active: the SDK shall not swallow a frame before it was counted."""
        return can.BusState.ACTIVE

    @state.setter
    def state(self, new_state: can.BusState) -> None:
        raise NotImplementedError("the state of the SDK's side is fixed")

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        return None, False


class PiperLink:
    """Frames of one arm. One thread may receive while another sends."""

    def __init__(self, open_bus: Callable[[], can.BusABC], clock: Clock, echoes: bool) -> None:
        """`echoes`: the bus hands our own frames back (udp_multicast does)."""
        self._open_bus, self._clock, self._echoes = open_bus, clock, echoes
        self._bus: can.BusABC | None = None
        self._received = self._sent = self._failed = self._failed_in_a_row = 0
        self._last_error, self._foreign, self._foreign_id = "", 0, 0
        self._foreign_ns: int | None = None
        self._own = OwnFrames()
        self.sdk = _make_sdk(self._send)

    def open(self) -> None:
        """Open the bus, afresh if it was open; counters start again.

        Raises:
            BusLostError, ConfigError: it cannot be opened.
        """
        self.close()
        self._failed_in_a_row, self._last_error = 0, ""
        self._foreign, self._foreign_ns = 0, None
        self._bus = self._open_bus()

    def close(self) -> None:
        """Close the bus. Nothing is sent: the arm goes on holding its last set-point."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.shutdown()

    @property
    def counters(self) -> LinkCounters:
        return LinkCounters(
            self._received,
            self._sent,
            self._failed,
            self._failed_in_a_row,
            self._last_error,
            self._foreign,
            self._foreign_id,
            self._foreign_ns,
        )

    # In
    def receive(self, timeout_s: float) -> tuple[int, Stamp] | None:
        """Take one frame of the arm through the SDK: its id and when it came; None: none came.

        Raises:
            BusLostError: the bus cannot be read.
        """
        bus = self._bus
        if bus is None:
            raise BusLostError("the bus is closed")
        try:
            message = bus.recv(timeout_s)
        except (can.CanError, OSError, ValueError) as error:
            if bus is not self._bus:
                return None  # it was closed or opened afresh under our hands
            raise BusLostError(f"the bus cannot be read: {error}") from None
        if message is None or message.is_error_frame or message.is_remote_frame:
            return None
        can_id, stamp = message.arbitration_id, self._stamp(message.timestamp)
        if can_id in COMMAND_IDS:
            self._note_command(can_id, bytes(message.data), stamp)
        else:
            self._received += 1
            if len(message.data) == 8:
                self.sdk.ParseCANFrame(message)
        return can_id, stamp

    def _stamp(self, bus_time_s: float) -> Stamp:
        """The bus's own stamp where it is one of this clock's last half second, else now.

        A socket buffer can hold frames back; their stamp says how old they are. After a step of
        the wall clock, or with a simulated clock, the stamps are of another time.
        """
        wall_ns, monotonic_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        age_ns = wall_ns - round(bus_time_s * NS_PER_S)
        if not 0 <= age_ns <= _OLDEST_STAMP_NS:
            age_ns = 0
        return Stamp(wall_ns - age_ns, monotonic_ns - age_ns)

    def _note_command(self, can_id: int, data: bytes, stamp: Stamp) -> None:
        if self._echoes and self._own.take(can_id, data, self._clock.monotonic_ns()):
            return
        self._foreign += 1
        self._foreign_id, self._foreign_ns = can_id, stamp.monotonic_ns

    # Out
    def ask_identity(self) -> None:
        """Ask for limits (12 x 0x472), firmware (0x4AF) and collision levels (0x477)."""
        self.sdk.SearchAllMotorMaxAngleSpd()
        self.sdk.SearchAllMotorMaxAccLimit()
        self.sdk.SearchPiperFirmwareVersion()
        self.sdk.ArmParamEnquiryAndConfig(param_enquiry=ASK_COLLISION_LEVEL)

    def enable_motors(self) -> None:
        """0x471: enable all six motors."""
        self.sdk.EnableArm(ALL_MOTORS)

    def follow_mode(self) -> None:
        """0x151: CAN control, joint moves, high follow: set-points are tracked as they come."""
        self.sdk.MotionCtrl_2(CAN_CONTROL, MOVE_J, FULL_SPEED_PERCENT, HIGH_FOLLOW)

    def joints(self, positions_rad: Float64) -> None:
        """0x155-157: set-points of joints 1 to 6, [6] rad, rounded to 0.001 degree."""
        self.sdk.JointCtrl(*(round(float(v)) for v in np.rad2deg(positions_rad) * 1000.0))

    def gripper(self, opening_m: float, effort_nm: float) -> None:
        """0x159: gripper opening, rounded to 0.001 mm, with at most this torque; enabled."""
        self.sdk.GripperCtrl(round(opening_m * 1e6), round(effort_nm * 1e3), ENABLE_GRIPPER, 0)

    def make_follower(self) -> None:
        """0x470: make a leader a follower. Unplug other arms of this bus first."""
        self.sdk.MasterSlaveConfig(FOLLOWER, 0, 0, 0)

    def clear_errors(self) -> None:
        """0x475: clear the joints' error codes; zero and acceleration stay as they are."""
        self.sdk.JointConfig(ALL_MOTORS, 0, 0, UNCHANGED, CONFIRM)

    def quick_stop(self) -> None:
        """0x150: damped emergency stop. Recovery takes a reset, which drops a raised arm."""
        self.sdk.MotionCtrl_1(QUICK_STOP, 0, 0)

    def _send(self, message: can.Message) -> None:
        can_id, data = message.arbitration_id, bytes(message.data)
        if _drops_the_arm(can_id, data):
            self._failed += 1
            self._last_error = f"0x{can_id:03X}#{data.hex()} drops the arm; never sent"
            return
        if self._echoes:
            self._own.add(can_id, data, self._clock.monotonic_ns())
        bus = self._bus
        try:
            if bus is None:
                raise BusLostError("the bus is closed")
            bus.send(message)
        except (can.CanError, OSError, ValueError, BusLostError) as error:
            self._failed += 1
            self._failed_in_a_row += 1
            self._last_error = str(error)
        else:
            self._sent += 1
            self._failed_in_a_row = 0


class OwnFrames:
    """Frames we sent and have not seen come back, for buses that hand us our own."""

    def __init__(self) -> None:
        self._times_ns: dict[tuple[int, bytes], deque[int]] = {}
        self._lock = threading.Lock()

    def add(self, can_id: int, data: bytes, now_ns: int) -> None:
        """Note one frame, before it is sent."""
        with self._lock:
            self._times_ns.setdefault((can_id, data), deque()).append(now_ns)
            if len(self._times_ns) > _OWN_FRAMES_KEPT:
                oldest_ns = now_ns - _ECHO_WITHIN_NS
                kept = {k: t for k, t in self._times_ns.items() if t and t[-1] >= oldest_ns}
                self._times_ns = kept

    def take(self, can_id: int, data: bytes, now_ns: int) -> bool:
        """Whether this frame is one of ours from the last second; it is taken off the list."""
        with self._lock:
            times_ns = self._times_ns.get((can_id, data), deque())
            while times_ns and now_ns - times_ns[0] > _ECHO_WITHIN_NS:
                times_ns.popleft()
            if not times_ns:
                return False
            times_ns.popleft()
            return True


def _drops_the_arm(can_id: int, data: bytes) -> bool:
    disable = can_id == ENABLE_ID and data[1] == DISABLE_FLAG
    return disable or (can_id == STOP_ID and data[0] == RESET_FLAG)


def _make_sdk(out: Callable[[can.Message], None]) -> C_PiperInterface_V2:
    # The SDK keeps one instance per name for ever, old values included: every link has its own.
    name = f"mvista_piper_{next(_instances)}"
    sdk = C_PiperInterface_V2(
        name, judge_flag=False, can_auto_init=False, logger_level=LogLevel.SILENT
    )
    sdk.CreateCanBus(name, bustype="virtual", judge_flag=False)
    port = sdk.GetCanBus()
    port.Close()
    port.send_bus = _SendSide(out)
    return sdk
