"""The byte codecs: the golden frames of piper_sdk 0.6.2, and back and forth without loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_piper import protocol
from mvista_piper.protocol import (
    AngleLimits,
    ArmStatus,
    EnableCommand,
    EndLimits,
    GripperCommand,
    GripperState,
    JointConfig,
    ModeCommand,
    MotorHealth,
    RoleCommand,
    StopCommand,
)

MDEG = math.pi / 180_000.0
BYTE = st.integers(0, 255)
FLAG = st.booleans()


def joints_hex(first_mdeg: int, second_mdeg: int) -> str:
    return protocol.pack_angles(first_mdeg * MDEG, second_mdeg * MDEG).hex().upper()


def test_the_golden_frames_of_the_sdk() -> None:
    follow = ModeCommand(1, 1, 100, protocol.HIGH_FOLLOW)
    assert follow.pack().hex().upper() == "010164AD00000000"
    assert joints_hex(1000, 2000) == "000003E8000007D0"
    assert joints_hex(-3000, 0) == "FFFFF44800000000"
    assert joints_hex(0, 500_000) == "000000000007A120"
    assert GripperCommand(0.05, 1.0, 1).pack().hex().upper() == "0000C35003E80100"
    assert EnableCommand(7, protocol.MOTOR_ON).pack().hex() == "0702000000000000"
    assert RoleCommand(protocol.FOLLOWER).pack().hex().upper() == "FC00000000000000"
    assert StopCommand(protocol.QUICK_STOP).pack().hex() == "0100000000000000"


COMMANDS = [
    st.builds(StopCommand, BYTE, BYTE, BYTE),
    st.builds(ModeCommand, BYTE, BYTE, BYTE, BYTE, BYTE, BYTE),
    st.builds(RoleCommand, BYTE, BYTE, BYTE, BYTE),
    st.builds(EnableCommand, BYTE, BYTE),
    st.builds(ArmStatus, BYTE, BYTE, BYTE, BYTE, FLAG, BYTE, st.integers(0, 0xFFFF)),
]


@given(st.one_of(COMMANDS))
def test_records_of_whole_numbers_come_back_as_they_were(record: Any) -> None:
    assert type(record).unpack(record.pack()) == record
    assert len(record.pack()) == 8


WIRE: list[tuple[Callable[[bytes], bytes], int]] = [
    (lambda d: protocol.pack_angles(*protocol.unpack_angles(d)), 8),
    (lambda d: protocol.pack_motor_fast(*protocol.unpack_motor_fast(d)), 8),
    (lambda d: EndLimits.unpack(d).pack(), 8),
    (lambda d: AngleLimits.unpack(d + b"\0").pack()[:7], 7),
    (lambda d: MotorHealth.unpack(d).pack(), 8),
    (lambda d: GripperState.unpack(d + b"\0").pack()[:7], 7),
    (lambda d: GripperCommand.unpack(d + b"\xae").pack()[:7], 7),
    (lambda d: protocol.pack_acceleration(*protocol.unpack_acceleration(d.ljust(8, b"\0")))[:3], 3),
]


@given(st.sampled_from(WIRE), st.binary(min_size=8, max_size=8))
def test_every_pattern_of_bytes_comes_back_through_si_units(
    codec: tuple[Callable[[bytes], bytes], int], data: bytes
) -> None:
    back_and_forth, used = codec
    assert back_and_forth(data[:used]) == data[:used]


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=3, max_size=3))
def test_the_flange_pose_comes_back(frames: list[bytes]) -> None:
    assert list(protocol.pack_end_pose(*protocol.unpack_end_pose(frames))) == frames


@given(st.floats(-30.0, 30.0), st.floats(-30.0, 30.0))
def test_angles_are_rounded_to_the_nearest_thousandth_of_a_degree(a: float, b: float) -> None:
    first, second = protocol.unpack_angles(protocol.pack_angles(a, b))
    assert abs(first - a) <= 0.500001 * MDEG and abs(second - b) <= 0.500001 * MDEG


@given(
    st.integers(0, 7), FLAG, FLAG, st.one_of(st.none(), st.integers(0, 500).map(lambda v: v / 100))
)
def test_a_joint_setting_comes_back(
    motor: int, zero: bool, clear: bool, acceleration: float | None
) -> None:
    setting = JointConfig(motor, zero, acceleration, clear)
    assert JointConfig.unpack(setting.pack()) == setting


def test_a_limit_left_as_it_is_is_none() -> None:
    limits = AngleLimits(3, None, None, 2.5)
    assert limits.pack().hex().upper() == "037FFF7FFF09C400"
    assert AngleLimits.unpack(limits.pack()) == limits


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=88))
def test_firmware_is_eleven_frames(text: str) -> None:
    frames = protocol.pack_firmware(text)
    assert len(frames) == protocol.FIRMWARE_FRAMES
    assert protocol.unpack_firmware(frames) == text


def test_a_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="89 characters of firmware; 88 fit"):
        protocol.pack_firmware("x" * 89)
