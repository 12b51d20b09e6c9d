"""One arm's bus: frames in, commands out, all counted.

piper_sdk encodes the commands. It neither owns the bus nor decodes: its reader opens two sockets,
hides send failures in a log line, ends at the first read error, stamps three joint frames with one
stamp and parses in silence. So this link reads, sends and stamps.

Two frames are never sent from here, whatever the caller asks: disable (0x471, byte 1 = 1) and
reset (0x150, byte 0 = 2). Both cut the motors' power, and a raised arm falls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import can
import numpy as np
from piper_sdk import C_PiperInterface_V2, LogLevel

from mvista_core.errors import BusLostError
from mvista_core.ports import Clock
from mvista_core.records import Float64
from mvista_core.timing import seconds_to_ns
from mvista_piper import protocol
from mvista_piper.bus_time import BusTime, Stamp
from mvista_piper.protocol import CtrlMode, MoveMode

COMMAND_IDS = frozenset({*range(0x150, 0x160), 0x470, 0x471, 0x474, 0x475})
"""Frames that move or configure an arm: a second sender of these is a second driver."""
BUS_OFF_ERROR = 0x40
"""`CAN_ERR_BUSOFF` of linux/can/error.h, in the id of an error frame."""
FULL_SPEED_PERCENT = 100
EVERY_MOTOR = 7
GRIPPER_ON = 1

_LOOK_EVERY_NS = seconds_to_ns(0.02)
_instances = itertools.count()


class ReceivedFrame(NamedTuple):
    """One frame of the bus. `flaw`: why it cannot be one of an arm's, "" if it can.

    `foreign`: the controller's own report of an error, a frame with a 29-bit id, or somebody's
    request for data (a remote frame); what looks like an arm's id there is none.
    """

    can_id: int
    data: bytes
    stamp: Stamp
    flaw: str = ""
    foreign: bool = False


@dataclass(frozen=True)
class LinkCounters:
    """Frames since the link was made; `failed_in_a_row`, `last_error`, `foreign` and
    `last_foreign_ns` since the bus was last opened. Only what can be an arm's is `received`.

    `flawed` ones have an arm's id and no eight bytes; `strange` ones have 29-bit ids or are remote
    frames, which ask for data and hold none.
    """

    received: int
    flawed: int
    strange: int
    sent: int
    failed: int
    failed_in_a_row: int
    last_error: str
    foreign: int
    last_foreign_id: int
    last_foreign_ns: int | None
    error_frames: int


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

    def __init__(self, open_bus: Callable[[], can.BusABC], clock: Clock) -> None:
        """`open_bus` gives a bus that does not hand our own frames back."""
        self._open_bus, self._clock = open_bus, clock
        self._bus: can.BusABC | None = None
        self._time = BusTime(clock)
        self._received = self._flawed = self._strange = 0
        self._sent = self._failed = self._failed_in_a_row = 0
        self._last_error, self._foreign, self._foreign_id, self._errors = "", 0, 0, 0
        self._foreign_ns: int | None = None
        self.sdk = _make_sdk(self._send)

    def open(self) -> None:
        """Open the bus, afresh if it was open; failures in a row and foreign frames count anew.

        Raises:
            BusLostError, ConfigError: it cannot be opened.
        """
        self.close()
        self._failed_in_a_row, self._last_error = 0, ""
        self._foreign, self._foreign_ns = 0, None
        self._time = BusTime(self._clock)
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
            self._flawed,
            self._strange,
            self._sent,
            self._failed,
            self._failed_in_a_row,
            self._last_error,
            self._foreign,
            self._foreign_id,
            self._foreign_ns,
            self._errors,
        )

    # In
    def receive(self, timeout_s: float) -> ReceivedFrame | None:
        """Take one frame, waiting at most so long for it; None: none came.

        Raises:
            BusLostError: the bus cannot be read, or its controller says that it is off the bus.
        """
        bus = self._bus
        if bus is None:
            raise BusLostError("the bus is closed")
        try:
            message = self._next(bus, timeout_s)
        except (can.CanError, OSError, ValueError) as error:
            if bus is not self._bus:
                return None  # it was closed or opened afresh under our hands
            raise BusLostError(f"the bus cannot be read: {error}") from None
        if message is None or bus is not self._bus:
            return None
        if message.is_error_frame:
            self._take_error(message)
        return self._count(message)

    def _next(self, bus: can.BusABC, timeout_s: float) -> can.Message | None:
        """The next frame. Now and then it is asked first whether any waits: ages hang on that."""
        bus_time = self._time
        if self._clock.monotonic_ns() - bus_time.caught_up_ns < _LOOK_EVERY_NS:
            return _take(bus, timeout_s)
        message = _take(bus, 0.0)
        if message is None:
            bus_time.caught_up()
            message = _take(bus, timeout_s) if timeout_s else None
        return message

    def _count(self, message: can.Message) -> ReceivedFrame:
        frame = ReceivedFrame(
            message.arbitration_id,
            bytes(message.data),
            self._time.stamp(message.timestamp),
            _flaw_of(message),
            message.is_extended_id or message.is_error_frame or message.is_remote_frame,
        )
        if frame.foreign:
            self._strange += not message.is_error_frame
        elif frame.can_id in COMMAND_IDS:
            # Own frames do not come back from the bus, so this one is somebody else's.
            self._note_command(frame.can_id, frame.stamp)
        elif frame.flaw:
            self._flawed += 1
        else:
            self._received += 1
        return frame

    def _take_error(self, message: can.Message) -> None:
        self._errors += 1
        if message.arbitration_id & BUS_OFF_ERROR:
            raise BusLostError(
                "the adapter's controller went off the bus after too many errors: check the cable, "
                f"120 ohm at both ends and the bit rate; {self._errors} error frames so far"
            )

    def _note_command(self, can_id: int, stamp: Stamp) -> None:
        self._foreign += 1
        self._foreign_id, self._foreign_ns = can_id, stamp.monotonic_ns

    # Out
    def ask_identity(self) -> None:
        """Ask for limits (12 x 0x472), firmware (0x4AF) and collision levels (0x477)."""
        self.sdk.SearchAllMotorMaxAngleSpd()
        self.sdk.SearchAllMotorMaxAccLimit()
        self.sdk.SearchPiperFirmwareVersion()
        self.sdk.ArmParamEnquiryAndConfig(param_enquiry=protocol.ASK_COLLISION)

    def ask_firmware(self) -> None:
        """Ask for the firmware (0x4AF): what any Piper answers, whatever its role, at rest too."""
        self.sdk.SearchPiperFirmwareVersion()

    def enable_motors(self) -> None:
        """0x471: enable all six motors."""
        self.sdk.EnableArm(EVERY_MOTOR)

    def follow_mode(self) -> None:
        """0x151: CAN control, joint moves, high follow: set-points are tracked as they come."""
        ctrl_mode, move_mode = int(CtrlMode.CAN), int(MoveMode.JOINT)
        self.sdk.MotionCtrl_2(ctrl_mode, move_mode, FULL_SPEED_PERCENT, protocol.HIGH_FOLLOW)

    def joints(self, positions_rad: Float64) -> None:
        """0x155-157: set-points of joints 1 to 6, [6] rad, rounded to 0.001 degree."""
        # Three frames, and not atomic: the arm takes each by itself.
        self.sdk.JointCtrl(*(round(float(v)) for v in np.rad2deg(positions_rad) * 1000.0))

    def gripper(self, opening_m: float, effort_nm: float) -> None:
        """0x159: gripper opening, rounded to 0.001 mm, with at most this torque; enabled."""
        self.sdk.GripperCtrl(round(opening_m * 1e6), round(effort_nm * 1e3), GRIPPER_ON, 0)

    def make_follower(self) -> None:
        """0x470: make a leader a follower. Unplug other arms of this bus first."""
        self.sdk.MasterSlaveConfig(protocol.FOLLOWER, 0, 0, 0)

    def clear_errors(self) -> None:
        """0x475: clear the joints' error codes; zero and acceleration stay as they are."""
        self.sdk.JointConfig(EVERY_MOTOR, 0, 0, protocol.UNCHANGED, protocol.CONFIRM)

    def quick_stop(self) -> None:
        """0x150: damped emergency stop. Recovery takes a reset, which drops a raised arm."""
        self.sdk.MotionCtrl_1(protocol.QUICK_STOP, 0, 0)

    def _send(self, message: can.Message) -> None:
        can_id, data = message.arbitration_id, bytes(message.data)
        if _drops_the_arm(can_id, data):
            # Not the bus's failure: it does not count towards a lost bus.
            self._failed += 1
            self._last_error = f"0x{can_id:03X}#{data.hex()} drops the arm; never sent"
            return
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


def _take(bus: can.BusABC, timeout_s: float) -> can.Message | None:
    """What `bus.recv` does without filters, but for its time-out: `BusABC.recv` counts it on the
    wall clock, and waits for the size of the step when that is set back while nothing comes."""
    return bus._recv_internal(timeout_s)[0]


def _flaw_of(message: can.Message) -> str:
    if message.is_error_frame:
        return "an error frame"
    if message.is_extended_id:
        return "a 29-bit id"
    if message.is_remote_frame:
        return "a remote frame"
    return "" if len(message.data) == 8 else f"{len(message.data)} bytes, 8 needed"


def _drops_the_arm(can_id: int, data: bytes) -> bool:
    disable = can_id == protocol.ENABLE and data[1] == protocol.MOTOR_OFF
    return disable or (can_id == protocol.STOP and data[0] == protocol.RESET)


def _make_sdk(out: Callable[[can.Message], None]) -> C_PiperInterface_V2:
    # The SDK keeps one instance per name for ever, old values included: every link has its own.
    name = f"mvista_piper_{next(_instances)}"
    sdk = C_PiperInterface_V2(
        name, judge_flag=False, can_auto_init=False, logger_level=LogLevel.SILENT
    )
    # The SDK sends only through a port with a bus: a virtual one, closed at once.
    sdk.CreateCanBus(name, bustype="virtual", judge_flag=False)
    port = sdk.GetCanBus()
    port.Close()
    port.send_bus = _SendSide(out)
    return sdk
