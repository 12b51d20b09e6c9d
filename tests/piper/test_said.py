"""Our decoding against piper_sdk's: where the SDK gives a value, both give the same."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import can
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper_sdk import C_PiperInterface_V2, LogLevel

from mvista_piper.protocol import JOINT_FEEDBACK, MOTOR_FAST, MOTOR_SLOW
from mvista_piper.said import (
    DECODERS,
    CollisionLevels,
    MotorAcceleration,
    MotorLimit,
    MotorStatus,
    NotParsedError,
    SaidStatus,
    decode,
)

_names = itertools.count()
EIGHT = st.binary(min_size=8, max_size=8)


def sdk_of(can_id: int, data: bytes) -> Any:
    sdk = C_PiperInterface_V2(
        f"law_{next(_names)}", judge_flag=False, can_auto_init=False,
        logger_level=LogLevel.SILENT,
    )  # fmt: skip
    sdk.ParseCANFrame(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
    return sdk


@given(st.integers(0, 2), st.integers(-170_000, 170_000), st.integers(-170_000, 170_000))
def test_joints(pair: int, first: int, second: int) -> None:
    data = struct.pack(">ii", first, second)
    said = sdk_of(JOINT_FEEDBACK[pair], data).GetArmJointMsgs().joint_state
    theirs = [getattr(said, f"joint_{2 * pair + k}") for k in (1, 2)]
    np.testing.assert_allclose(decode(JOINT_FEEDBACK[pair], data), np.deg2rad(theirs) / 1000)


@given(st.integers(-10_000, 120_000), st.integers(-5000, 5000), st.integers(0, 255))
def test_the_gripper(opening: int, torque: int, bits: int) -> None:
    data = struct.pack(">ihBB", opening, torque, bits, 0)
    said = sdk_of(0x2A8, data).GetArmGripperMsgs().gripper_state
    np.testing.assert_allclose(decode(0x2A8, data), [said.grippers_angle * 1e-6])


@given(st.integers(0, 5), EIGHT)
def test_the_motors_speeds(motor: int, data: bytes) -> None:
    said = getattr(sdk_of(MOTOR_FAST[motor], data).GetArmHighSpdInfoMsgs(), f"motor_{motor + 1}")
    ours = decode(MOTOR_FAST[motor], data)
    np.testing.assert_allclose(ours, [said.pos * 1e-3, said.motor_speed * 1e-3])


@given(
    st.integers(0, 5), st.integers(0, 1000), st.integers(-60, 250), st.integers(-60, 127),
    st.integers(0, 255),
)  # fmt: skip
def test_the_motors_health(motor: int, volt: int, driver: int, own: int, bits: int) -> None:
    data = struct.pack(">HhbBH", volt, driver, own, bits, 7)
    said = getattr(sdk_of(MOTOR_SLOW[motor], data).GetArmLowSpdInfoMsgs(), f"motor_{motor + 1}")
    theirs = MotorStatus(said.vol / 10, said.foc_temp, said.motor_temp, int(said.foc_status_code))
    assert decode(MOTOR_SLOW[motor], data) == theirs


@given(st.integers(0, 7), st.integers(0, 15), st.integers(0, 5), st.integers(0, 0xFFFF))
def test_the_arms_status(ctrl_mode: int, status: int, mode_feed: int, error: int) -> None:
    data = bytes((ctrl_mode, status, mode_feed, 0, 0, 0)) + struct.pack(">H", error)
    said = sdk_of(0x2A1, data).GetArmStatus().arm_status
    theirs = SaidStatus(
        int(said.ctrl_mode), int(said.arm_status), int(said.mode_feed), int(said.err_code)
    )
    assert decode(0x2A1, data) == theirs == SaidStatus(ctrl_mode, status, mode_feed, error)


@given(
    st.integers(1, 6), st.integers(-3600, 3600), st.integers(-3600, 3600), st.integers(0, 30_000)
)
def test_limits(motor: int, high: int, low: int, speed: int) -> None:
    data = struct.pack(">BhhHx", motor, high, low, speed)
    answer = sdk_of(0x473, data).GetCurrentMotorAngleLimitMaxVel()
    said = answer.current_motor_angle_limit_max_vel
    ours = decode(0x473, data)
    assert isinstance(ours, MotorLimit) and ours.motor == said.motor_num
    theirs = (np.deg2rad(said.min_angle_limit * 0.1), np.deg2rad(said.max_angle_limit * 0.1))
    np.testing.assert_allclose((ours.lower_rad, ours.upper_rad), theirs)
    np.testing.assert_allclose(ours.max_speed_rad_s, said.max_joint_spd * 1e-3)


@pytest.mark.parametrize(("raw", "rad_s2"), [(500, 5.0), (5000, 5.0), (100, 1.0), (501, 0.501)])
def test_accelerations_in_either_unit(raw: int, rad_s2: float) -> None:
    ours = decode(0x47C, struct.pack(">BHxxxxx", 3, raw))
    assert isinstance(ours, MotorAcceleration) and ours.motor == 3
    assert ours.max_acceleration_rad_s2 == pytest.approx(rad_s2)


def test_collision_levels() -> None:
    assert decode(0x47B, bytes((0, 1, 2, 8, 4, 5, 9, 9))) == CollisionLevels((0, 1, 2, 8, 4, 5))


@pytest.mark.parametrize("can_id", sorted(DECODERS))
@pytest.mark.parametrize("length", [0, 1, 4, 7])
def test_a_frame_of_another_length_gives_no_value(can_id: int, length: int) -> None:
    with pytest.raises(NotParsedError, match=f"{length} bytes, 8 needed"):
        decode(can_id, bytes(length))


@pytest.mark.parametrize(
    ("can_id", "data", "said"),
    [
        (0x2A1, bytes((8, 0, 1, 0, 0, 0, 0, 0)), "ctrl_mode 8 is unknown"),
        (0x2A1, bytes((1, 16, 1, 0, 0, 0, 0, 0)), "arm status 16 is unknown"),
        (0x2A1, bytes((1, 0, 7, 0, 0, 0, 0, 0)), "mode_feed 7 is unknown"),
        (0x261, struct.pack(">HhbBH", 240, 300, 30, 64, 0), "300 C"),
        (0x266, struct.pack(">HhbBH", 240, 30, -61, 64, 0), "-61 C"),
        (0x263, struct.pack(">HhbBH", 1001, 30, 30, 64, 0), "100.1 V"),
        (0x473, struct.pack(">BhhHx", 7, 10, -10, 3000), "no motor 7"),
        (0x473, struct.pack(">BhhHx", 1, 0x7FFF, -10, 3000), "left out"),
        (0x47C, struct.pack(">BHxxxxx", 0, 500), "no motor 0"),
        (0x47B, bytes((1, 1, 1, 1, 1, 9, 0, 0)), "collision level 9"),
    ],
)
def test_a_value_that_cannot_be_is_none(can_id: int, data: bytes, said: str) -> None:
    with pytest.raises(NotParsedError, match=said):
        decode(can_id, data)


@given(st.sampled_from(sorted(DECODERS)), EIGHT)
def test_whatever_comes_is_a_value_or_refused(can_id: int, data: bytes) -> None:
    try:
        decode(can_id, data)
    except NotParsedError as error:
        assert str(error)
