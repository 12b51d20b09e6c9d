"""The Piper's CAN protocol, version 2, seen from the arm: ids, codes and byte codecs. Pure.

Classic CAN at 1 Mbit/s, 11-bit ids, 8 data bytes, big-endian. Records are in SI units; the wire
has 0.001 degree, 0.001 mm, 0.001 N.m and so on (piper_sdk 0.6.2, `piper_msgs/msg_v2`). Packing
rounds to the nearest unit of the wire; `struct.error` means that a value does not fit its field.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

MOTORS = 6

# Commands
STOP, MODE, GRIPPER, ROLE, ENABLE = 0x150, 0x151, 0x159, 0x470, 0x471
JOINTS = (0x155, 0x156, 0x157)
# Queries, settings and their answers
QUERY_LIMITS, LIMITS, SET_LIMITS, JOINT_CONFIG, ACK = 0x472, 0x473, 0x474, 0x475, 0x476
PARAMETERS, END_LIMITS, SET_END_LIMITS = 0x477, 0x478, 0x479
SET_COLLISION, COLLISION, ACCELERATION = 0x47A, 0x47B, 0x47C
SET_GRIPPER_PARAMETERS, GRIPPER_PARAMETERS, FIRMWARE = 0x47D, 0x47E, 0x4AF
# Feedback
STATUS, GRIPPER_FEEDBACK = 0x2A1, 0x2A8
END_POSE = (0x2A2, 0x2A3, 0x2A4)
JOINT_FEEDBACK = (0x2A5, 0x2A6, 0x2A7)
MOTOR_FAST = tuple(range(0x251, 0x257))
MOTOR_SLOW = tuple(range(0x261, 0x267))

ALL_MOTORS = (7, 0xFF)
MOTOR_ON, MOTOR_OFF = 2, 1
LEADER, FOLLOWER = 0xFA, 0xFC
OFFSETS = (0x00, 0x10, 0x20)
"""What 0x470 may add to ids: 2Ax to 2Bx or 2Cx, 15x to 16x or 17x."""
QUICK_STOP, RESET = 1, 2
HIGH_FOLLOW = 0xAD
CONFIRM = 0xAE
"""Marks a setting as meant: zero, acceleration, end load, clear error."""
UNCHANGED = 0x7FFF
ASK_ANGLES, ASK_ACCELERATION = 1, 2
ASK_END_LIMITS, ASK_COLLISION, ASK_GRIPPER = 1, 2, 4
RESET_END_LIMITS, RESET_JOINT_LIMITS = 1, 2
FIRMWARE_FRAMES = 11
ASK_FIRMWARE = bytes((1, 0, 0, 0, 0, 0, 0, 0))
"""The question has the id of the answer: only its data tell them apart."""

# Angles are 0.001 degree on the wire, those of limits 0.1 degree.
_MDEG = math.pi / 180_000.0
_PER_MDEG = 180_000.0 / math.pi
_DDEG = math.pi / 1_800.0
_PAIR = struct.Struct(">ii")
_FAST = struct.Struct(">hhi")
_SLOW = struct.Struct(">HhbBH")
_GRIPPER = struct.Struct(">ihBB")
_ANGLES = struct.Struct(">BhhHx")
_ACCELERATION = struct.Struct(">BHxxxxx")
_JOINT_CONFIG = struct.Struct(">BBBHBxx")
_END_LIMITS = struct.Struct(">HHHH")


class CtrlMode(IntEnum):
    """0x151 byte 0 and 0x2A1 byte 0: who commands the arm."""

    STANDBY = 0
    CAN = 1
    TEACH = 2
    ETHERNET = 3
    WIFI = 4
    REMOTE = 5
    LEADER = 6
    OFFLINE = 7


class MoveMode(IntEnum):
    """0x151 byte 1 and 0x2A1 byte 2: what a target is."""

    POSE = 0
    JOINT = 1
    LINE = 2
    ARC = 3
    MIT = 4


class ArmCondition(IntEnum):
    """0x2A1 byte 1: how the arm is."""

    NORMAL = 0
    EMERGENCY_STOP = 1
    NO_SOLUTION = 2
    SINGULARITY = 3
    OVER_LIMIT = 4
    JOINT_COMMUNICATION = 5
    BRAKE = 6
    COLLISION = 7
    TEACH_OVERSPEED = 8
    JOINT_FAULT = 9
    OTHER = 10


class MotorBit(IntEnum):
    """0x261-0x266 byte 5."""

    UNDERVOLTAGE = 1 << 0
    MOTOR_HOT = 1 << 1
    OVERCURRENT = 1 << 2
    DRIVER_HOT = 1 << 3
    COLLISION = 1 << 4
    ERROR = 1 << 5
    ENABLED = 1 << 6
    STALL = 1 << 7


def pack_angles(first_rad: float, second_rad: float) -> bytes:
    """Two angles, 0.001 degree (0x155-0x157, 0x2A5-0x2A7)."""
    return _PAIR.pack(round(first_rad * _PER_MDEG), round(second_rad * _PER_MDEG))


def unpack_angles(data: bytes) -> tuple[float, float]:
    """Two angles in radians."""
    first, second = _PAIR.unpack(data)
    return first * _MDEG, second * _MDEG


def pack_end_pose(position_m: Iterable[float], rpy_rad: Iterable[float]) -> tuple[bytes, ...]:
    """The three frames of the flange pose (0x2A2-0x2A4): x y, z roll, pitch yaw."""
    x, y, z = (round(value * 1e6) for value in position_m)
    roll, pitch, yaw = (round(value * _PER_MDEG) for value in rpy_rad)
    return _PAIR.pack(x, y), _PAIR.pack(z, roll), _PAIR.pack(pitch, yaw)


def unpack_end_pose(frames: Iterable[bytes]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Flange position in metres and roll, pitch, yaw in radians from the three frames."""
    values = [value for data in frames for value in _PAIR.unpack(data)]
    return tuple(v * 1e-6 for v in values[:3]), tuple(v * _MDEG for v in values[3:])


def pack_motor_fast(speed_rad_s: float, current_a: float, position_rad: float) -> bytes:
    """0x251-0x256: 0.001 rad/s, 0.001 A, 0.001 rad."""
    # Radians: the motors' own positions are not in degrees, as the joints' are.
    return _FAST.pack(round(speed_rad_s * 1e3), round(current_a * 1e3), round(position_rad * 1e3))


def unpack_motor_fast(data: bytes) -> tuple[float, float, float]:
    """Speed (rad/s), current (A) and position (rad) of one motor."""
    speed, current, position = _FAST.unpack(data)
    return speed * 1e-3, current * 1e-3, position * 1e-3


def pack_firmware(text: str) -> tuple[bytes, ...]:
    """The eleven frames that answer 0x4AF: ASCII, padded with zeros.

    Raises:
        ValueError: the text does not fit, or is not ASCII.
    """
    raw = text.encode("ascii")
    if len(raw) > 8 * FIRMWARE_FRAMES:
        raise ValueError(f"{len(raw)} characters of firmware; {8 * FIRMWARE_FRAMES} fit")
    raw = raw.ljust(8 * FIRMWARE_FRAMES, b"\0")
    return tuple(raw[i : i + 8] for i in range(0, len(raw), 8))


def unpack_firmware(frames: Iterable[bytes]) -> str:
    """The text of the eleven frames."""
    return b"".join(frames).rstrip(b"\0").decode("ascii")


@dataclass(frozen=True)
class StopCommand:
    """0x150: emergency stop (1), reset (2, cuts the motors' power)."""

    stop: int
    track: int = 0
    teach: int = 0

    def pack(self) -> bytes:
        return bytes((self.stop, self.track, self.teach, 0, 0, 0, 0, 0))

    @classmethod
    def unpack(cls, data: bytes) -> StopCommand:
        return cls(data[0], data[1], data[2])


@dataclass(frozen=True)
class ModeCommand:
    """0x151: who commands, what a target is, how fast, and whether it is followed raw (0xAD)."""

    ctrl_mode: int
    move_mode: int
    speed_percent: int
    follow: int = 0
    dwell_s: int = 0
    mount: int = 0

    def pack(self) -> bytes:
        head = (self.ctrl_mode, self.move_mode, self.speed_percent)
        return bytes((*head, self.follow, self.dwell_s, self.mount, 0, 0))

    @classmethod
    def unpack(cls, data: bytes) -> ModeCommand:
        return cls(*data[:6])


@dataclass(frozen=True)
class GripperCommand:
    """0x159: opening, torque, code (bit 0 on, bit 1 clear error), and "this is zero"."""

    opening_m: float
    torque_nm: float
    code: int
    set_zero: bool = False

    def pack(self) -> bytes:
        zero = CONFIRM if self.set_zero else 0
        opening, torque = round(self.opening_m * 1e6), round(self.torque_nm * 1e3)
        return _GRIPPER.pack(opening, torque, self.code, zero)

    @classmethod
    def unpack(cls, data: bytes) -> GripperCommand:
        opening, torque, code, zero = _GRIPPER.unpack(data)
        return cls(opening * 1e-6, torque * 1e-3, code, zero == CONFIRM)


@dataclass(frozen=True)
class GripperState:
    """0x2A8: opening, torque and bits (as `MotorBit`, but 4 sensor and 7 zeroed)."""

    opening_m: float
    torque_nm: float
    bits: int

    def pack(self) -> bytes:
        return _GRIPPER.pack(round(self.opening_m * 1e6), round(self.torque_nm * 1e3), self.bits, 0)

    @classmethod
    def unpack(cls, data: bytes) -> GripperState:
        opening, torque, bits, _ = _GRIPPER.unpack(data)
        return cls(opening * 1e-6, torque * 1e-3, bits)


@dataclass(frozen=True)
class RoleCommand:
    """0x470: leader (0xFA) or follower (0xFC), and what is added to ids."""

    role: int
    feedback_offset: int = 0
    control_offset: int = 0
    link_offset: int = 0

    def pack(self) -> bytes:
        offsets = (self.feedback_offset, self.control_offset, self.link_offset)
        return bytes((self.role, *offsets, 0, 0, 0, 0))

    @classmethod
    def unpack(cls, data: bytes) -> RoleCommand:
        return cls(*data[:4])


@dataclass(frozen=True)
class EnableCommand:
    """0x471: one motor (1-6) or all (7, 0xFF), on (2) or off (1)."""

    motor: int
    flag: int

    def pack(self) -> bytes:
        return bytes((self.motor, self.flag, 0, 0, 0, 0, 0, 0))

    @classmethod
    def unpack(cls, data: bytes) -> EnableCommand:
        return cls(data[0], data[1])


@dataclass(frozen=True)
class AngleLimits:
    """0x473 and 0x474: range and speed limit of one motor; None: leave as it is (0x7FFF)."""

    motor: int
    upper_rad: float | None
    lower_rad: float | None
    max_speed_rad_s: float | None

    def pack(self) -> bytes:
        upper, lower, speed = (
            UNCHANGED if value is None else round(value / unit)
            for value, unit in (
                (self.upper_rad, _DDEG),
                (self.lower_rad, _DDEG),
                (self.max_speed_rad_s, 1e-3),
            )
        )
        return _ANGLES.pack(self.motor, upper, lower, speed)

    @classmethod
    def unpack(cls, data: bytes) -> AngleLimits:
        motor, *raw = _ANGLES.unpack(data)
        upper, lower, speed = (
            None if value == UNCHANGED else value * unit
            for value, unit in zip(raw, (_DDEG, _DDEG, 1e-3), strict=True)
        )
        return cls(motor, upper, lower, speed)


@dataclass(frozen=True)
class JointConfig:
    """0x475: set zero, acceleration limit (None: leave), clear error; motor 7 is all."""

    motor: int
    set_zero: bool = False
    max_acceleration_rad_s2: float | None = None
    clear_error: bool = False

    def pack(self) -> bytes:
        # A value counts only with its flag; without it 0x7FFF says that none is meant.
        given = self.max_acceleration_rad_s2 is not None
        raw = UNCHANGED
        if self.max_acceleration_rad_s2 is not None:
            raw = round(self.max_acceleration_rad_s2 * 100.0)
        flags = [CONFIRM if flag else 0 for flag in (self.set_zero, given, self.clear_error)]
        return _JOINT_CONFIG.pack(self.motor, flags[0], flags[1], raw, flags[2])

    @classmethod
    def unpack(cls, data: bytes) -> JointConfig:
        motor, zero, given, raw, clear = _JOINT_CONFIG.unpack(data)
        acceleration = raw / 100.0 if given == CONFIRM and raw != UNCHANGED else None
        return cls(motor, zero == CONFIRM, acceleration, clear == CONFIRM)


def pack_acceleration(motor: int, max_acceleration_rad_s2: float) -> bytes:
    """0x47C: 0.01 rad/s^2 (the unit that 0x475 sets)."""
    return _ACCELERATION.pack(motor, round(max_acceleration_rad_s2 * 100.0))


def unpack_acceleration(data: bytes) -> tuple[int, float]:
    """Motor and its acceleration limit in rad/s^2."""
    motor, raw = _ACCELERATION.unpack(data)
    return motor, raw / 100.0


@dataclass(frozen=True)
class EndLimits:
    """0x478 and 0x479: Cartesian limits, 0.001 m/s, rad/s, m/s^2, rad/s^2."""

    speed_m_s: float
    speed_rad_s: float
    acceleration_m_s2: float
    acceleration_rad_s2: float

    def pack(self) -> bytes:
        values = (self.speed_m_s, self.speed_rad_s, self.acceleration_m_s2)
        return _END_LIMITS.pack(*(round(v * 1e3) for v in (*values, self.acceleration_rad_s2)))

    @classmethod
    def unpack(cls, data: bytes) -> EndLimits:
        return cls(*(value * 1e-3 for value in _END_LIMITS.unpack(data)))


@dataclass(frozen=True)
class ArmStatus:
    """0x2A1."""

    ctrl_mode: int
    condition: int
    move_mode: int
    teach: int = 0
    moving: bool = False
    point: int = 0
    error_code: int = 0

    def pack(self) -> bytes:
        head = (self.ctrl_mode, self.condition, self.move_mode, self.teach, self.moving, self.point)
        # High byte: joints beyond their limits; low byte: joints that do not answer.
        return bytes((*head, self.error_code >> 8, self.error_code & 0xFF))

    @classmethod
    def unpack(cls, data: bytes) -> ArmStatus:
        moving = bool(data[4])
        return cls(data[0], data[1], data[2], data[3], moving, data[5], data[6] << 8 | data[7])


@dataclass(frozen=True)
class MotorHealth:
    """0x261-0x266: 0.1 V, 1 degree C, 1 degree C, `MotorBit`s, 0.001 A."""

    voltage_v: float
    driver_c: int
    motor_c: int
    bits: int
    bus_current_a: float

    def pack(self) -> bytes:
        voltage, current = round(self.voltage_v * 10.0), round(self.bus_current_a * 1e3)
        return _SLOW.pack(voltage, self.driver_c, self.motor_c, self.bits, current)

    @classmethod
    def unpack(cls, data: bytes) -> MotorHealth:
        voltage, driver_c, motor_c, bits, current = _SLOW.unpack(data)
        return cls(voltage / 10.0, driver_c, motor_c, bits, current * 1e-3)
