"""What the arm's frames say, decoded and judged: a value counts only if it could be parsed whole.

piper_sdk parses in silence: a short frame, or one with a joint beyond 3,000 degrees, leaves the
values of before in its getters, zeros at first. So feedback is decoded here, by
`protocol`, and what cannot be is refused with a reason. A law in the tests holds both decoders
against each other. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mvista_piper import protocol
from mvista_piper.limits import MAX_ACCELERATION_RAD_S2, MOTORS
from mvista_piper.protocol import JOINT_FEEDBACK, MOTOR_FAST, MOTOR_SLOW, MotorBit

CTRL_MODES = {
    0: "standby", 1: "CAN", 2: "teach", 3: "ethernet", 4: "wifi", 5: "remote control",
    6: "leader", 7: "offline trajectory",
}  # fmt: skip
ARM_STATUS = {
    0: "normal", 1: "emergency stop", 2: "no solution", 3: "singularity",
    4: "target beyond the limits", 5: "joint communication fault", 6: "brake not released",
    7: "collision", 8: "overspeed while taught", 9: "joint fault", 10: "other fault",
    11: "teach record", 12: "teach replay", 13: "teach pause",
    14: "controller over temperature", 15: "brake resistor over temperature",
}  # fmt: skip
MODE_FEEDS = frozenset(range(7))
"""Pose, joint, line, arc, MIT (4; 6 from S-V1.8-8 on), CPV."""
DRIVER_BITS = {
    0: "undervoltage", 1: "motor over temperature", 2: "overcurrent",
    3: "driver over temperature", 4: "collision", 5: "driver error", 7: "stall",
}  # fmt: skip
LEADER_IDS = frozenset({*range(0x2B1, 0x2B9), *range(0x2C1, 0x2C9)})
"""Feedback with an id offset (0x470 byte 1): only arms set up as leaders send it."""

_HIGHEST_VOLTAGE_V = 100.0
_COLDEST_C, _HOTTEST_C = -60.0, 250.0
_HIGHEST_COLLISION_LEVEL = 8
_DATA_BYTES = 8


class NotParsedError(ValueError):
    """A frame that gives no value; the text says why, in a few words."""


@dataclass(frozen=True)
class SaidStatus:
    """0x2A1: what the arm's controller says of itself."""

    ctrl_mode: int
    status: int
    mode_feed: int
    error_code: int

    @property
    def problem(self) -> str:
        """What is wrong, "" if nothing is."""
        if not self.status and not self.error_code:
            return ""
        said = []
        if self.status:
            said.append(f"arm status {self.status} ({ARM_STATUS.get(self.status, 'unknown')})")
        for shift, text in ((8, "over its limit"), (0, "communication fault")):
            joints = [i + 1 for i in range(MOTORS) if self.error_code >> (shift + i) & 1]
            said += [f"joint{joint} {text}" for joint in joints]
        return ", ".join(said)


@dataclass(frozen=True)
class MotorStatus:
    """0x261 to 0x266: one motor and its driver."""

    voltage_v: float
    driver_temperature_c: float
    motor_temperature_c: float
    bits: int

    @property
    def enabled(self) -> bool:
        return bool(self.bits & MotorBit.ENABLED)

    @property
    def problem(self) -> str:
        """The fault bits by name, "" if none is set."""
        if self.bits in (0, MotorBit.ENABLED):
            return ""
        return ", ".join(text for bit, text in DRIVER_BITS.items() if self.bits >> bit & 1)


@dataclass(frozen=True)
class MotorLimit:
    """0x473: range (rad) and speed limit (rad/s) of one motor, numbered from 1."""

    motor: int
    lower_rad: float
    upper_rad: float
    max_speed_rad_s: float


@dataclass(frozen=True)
class MotorAcceleration:
    """0x47C: acceleration limit (rad/s^2) of one motor, numbered from 1."""

    motor: int
    max_acceleration_rad_s2: float


@dataclass(frozen=True)
class CollisionLevels:
    """0x47B: 0 (off) to 8, motor 1 first."""

    levels: tuple[int, ...]


Values = tuple[float, ...]
"""Joints (rad) of one frame, the gripper's opening (m), or a motor's position and speed."""
Decoder = Callable[[bytes], Any]


def decode(can_id: int, data: bytes) -> Any:
    """The value of one frame of `DECODERS`; data [8].

    Raises:
        NotParsedError: it holds none.
    """
    if len(data) != _DATA_BYTES:
        raise NotParsedError(f"{len(data)} bytes, {_DATA_BYTES} needed")
    return DECODERS[can_id](data)


def decode_set_point(can_id: int, data: bytes) -> Values:
    """The joints (rad) of a set-point (0x155-0x157), or the gripper's opening (m, 0x159); data [8].

    Raises:
        NotParsedError: it holds none.
    """
    if len(data) != _DATA_BYTES:
        raise NotParsedError(f"{len(data)} bytes, {_DATA_BYTES} needed")
    if can_id == protocol.GRIPPER:
        return (protocol.GripperCommand.unpack(data).opening_m,)
    return protocol.unpack_angles(data)


def _status(data: bytes) -> SaidStatus:
    said = protocol.ArmStatus.unpack(data)
    for value, known, name in (
        (said.ctrl_mode, CTRL_MODES, "ctrl_mode"),
        (said.condition, ARM_STATUS, "arm status"),
        (said.move_mode, MODE_FEEDS, "mode_feed"),
    ):
        if value not in known:
            raise NotParsedError(f"{name} {value} is unknown")
    return SaidStatus(said.ctrl_mode, said.condition, said.move_mode, said.error_code)


def _gripper(data: bytes) -> Values:
    return (protocol.GripperState.unpack(data).opening_m,)


def _fast(data: bytes) -> Values:
    speed_rad_s, _, position_rad = protocol.unpack_motor_fast(data)
    return position_rad, speed_rad_s


def _slow(data: bytes) -> MotorStatus:
    said = protocol.MotorHealth.unpack(data)
    for celsius in (said.driver_c, said.motor_c):
        if not _COLDEST_C <= celsius <= _HOTTEST_C:
            raise NotParsedError(f"{celsius} C is no temperature of a motor")
    if said.voltage_v > _HIGHEST_VOLTAGE_V:
        raise NotParsedError(f"{said.voltage_v:.1f} V is no voltage of a motor")
    return MotorStatus(said.voltage_v, float(said.driver_c), float(said.motor_c), said.bits)


def _limits(data: bytes) -> MotorLimit:
    said = protocol.AngleLimits.unpack(data)
    lower, upper, speed = said.lower_rad, said.upper_rad, said.max_speed_rad_s
    if lower is None or upper is None or speed is None:
        raise NotParsedError("a limit is left out (0x7FFF)")
    return MotorLimit(_motor(said.motor), lower, upper, speed)


def _acceleration(data: bytes) -> MotorAcceleration:
    motor, value = protocol.unpack_acceleration(data)
    # 0x475 sets it in 0.01 rad/s^2, the SDK documents 0x47C in 0.001: what would be more than any
    # joint takes is in the smaller unit.
    value = value if value <= MAX_ACCELERATION_RAD_S2 else value * 0.1
    return MotorAcceleration(_motor(motor), value)


def _collision(data: bytes) -> CollisionLevels:
    levels = tuple(data[:MOTORS])
    if max(levels) > _HIGHEST_COLLISION_LEVEL:
        raise NotParsedError(f"collision level {max(levels)}, 0 to {_HIGHEST_COLLISION_LEVEL} are")
    return CollisionLevels(levels)


def _motor(number: int) -> int:
    if not 1 <= number <= MOTORS:
        raise NotParsedError(f"there is no motor {number}")
    return number


DECODERS: Mapping[int, Decoder] = {
    **dict.fromkeys(JOINT_FEEDBACK, protocol.unpack_angles),
    **dict.fromkeys(MOTOR_FAST, _fast),
    **dict.fromkeys(MOTOR_SLOW, _slow),
    protocol.GRIPPER_FEEDBACK: _gripper,
    protocol.STATUS: _status,
    protocol.LIMITS: _limits,
    protocol.ACCELERATION: _acceleration,
    protocol.COLLISION: _collision,
    protocol.FIRMWARE: bytes,
}
"""By id, everything this driver reads; the other ids of an arm (the flange's pose) are left."""
