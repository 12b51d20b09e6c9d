"""Who may be moved, and within which limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError, IdentityError
from mvista_piper.identity import ArmAnswers, Role, check_identity, parse_firmware
from mvista_piper.limits import (
    PUBLISHED_LOWER_DEG,
    PUBLISHED_UPPER_DEG,
    MotorLimits,
    check_arm_file,
    intersect,
)

PIPER = load_arm(config_file("arms", "piper.yaml"))
WIDE = {motor: MotorLimits(-3.2, 3.2, 3.0, 5.0) for motor in range(1, 7)}
GOOD = ArmAnswers("S-V1.8-8", Role.FOLLOWER, WIDE, (1,) * 6)


def old_dh(arm: ArmModel) -> ArmModel:
    two = replace(arm.dh[1], theta_offset_rad=np.deg2rad(-174.22))
    three = replace(arm.dh[2], theta_offset_rad=np.deg2rad(-100.78))
    return replace(arm, dh=(arm.dh[0], two, three, *arm.dh[3:]))


@pytest.mark.parametrize("firmware", ["S-V1.6-3", "S-V1.8-8"])
def test_a_known_follower_is_agreed_to(firmware: str) -> None:
    identity = check_identity(replace(GOOD, firmware=firmware), PIPER)
    assert identity.firmware == firmware and identity.limits.names == PIPER.joint_names


@pytest.mark.parametrize("firmware", ["", "S-V", "V1.8-8", "S-V1.8", "\x00" * 8])
def test_firmware_of_another_form_is_unknown(firmware: str) -> None:
    with pytest.raises(IdentityError, match="unknown firmware.*S-V1.8-x"):
        check_identity(replace(GOOD, firmware=firmware), PIPER)


@pytest.mark.parametrize("firmware", ["S-V1.4-9", "S-V1.9-0", "S-V2.0-1"])
def test_firmware_out_of_range_is_refused_unless_vouched_for(firmware: str) -> None:
    answers = replace(GOOD, firmware=firmware)
    with pytest.raises(IdentityError, match="accept_firmware"):
        check_identity(answers, PIPER)
    arm = old_dh(PIPER) if firmware < "S-V1.6" else PIPER
    assert check_identity(answers, arm, accept_firmware=firmware).firmware == firmware


def test_the_dh_table_must_be_the_arm_files() -> None:
    """The 2 degree offset of joints 2 and 3 came with S-V1.6-3."""
    old = replace(GOOD, firmware="S-V1.6-2")
    with pytest.raises(IdentityError, match=r"-174.22 deg.*-172.22 deg.*Update the arm"):
        check_identity(old, PIPER)
    assert check_identity(old, old_dh(PIPER)).firmware == "S-V1.6-2"
    with pytest.raises(IdentityError, match=r"-172.22 deg.*-174.22 deg"):
        check_identity(GOOD, old_dh(PIPER))


def test_a_leader_is_refused_and_told_what_to_do() -> None:
    with pytest.raises(IdentityError, match="leader.*make_follower"):
        check_identity(replace(GOOD, role=Role.LEADER), PIPER)
    with pytest.raises(IdentityError, match="unknown.*0x2A1"):
        check_identity(replace(GOOD, role=Role.UNKNOWN), PIPER)


def test_the_collision_level_is_read_and_may_be_demanded() -> None:
    answers = replace(GOOD, collision_levels=(1, 1, 0, 1, 1, 1))
    assert check_identity(answers, PIPER).collision_levels[2] == 0
    with pytest.raises(IdentityError, match="joint3: 0.*asks for 1"):
        check_identity(answers, PIPER, min_collision_level=1)
    with pytest.raises(IdentityError, match="unknown"):
        check_identity(replace(GOOD, collision_levels=()), PIPER)


def test_versions_are_ordered_as_numbers() -> None:
    assert parse_firmware("S-V1.10-3") > parse_firmware("S-V1.8-8") > parse_firmware("S-V1.8-2")


def test_without_a_narrower_answer_the_arm_file_and_the_table_decide() -> None:
    limits = intersect(PIPER, WIDE)
    table_low, table_high = np.deg2rad(PUBLISHED_LOWER_DEG), np.deg2rad(PUBLISHED_UPPER_DEG)
    np.testing.assert_allclose(limits.lower[:6], np.maximum(PIPER.lower[:6], table_low))
    np.testing.assert_allclose(limits.upper[:6], np.minimum(PIPER.upper[:6], table_high))
    np.testing.assert_allclose(limits.upper[6], PIPER.upper[6])


@given(
    low=st.floats(-3.2, -0.1), high=st.floats(0.1, 3.2), speed=st.floats(0.1, 6.0),
    acceleration=st.floats(0.1, 9.0), motor=st.sampled_from([1, 4, 5, 6]),
)  # fmt: skip
def test_the_intersection_is_inside_every_source(
    low: float, high: float, speed: float, acceleration: float, motor: int
) -> None:
    limits = intersect(PIPER, {**WIDE, motor: MotorLimits(low, high, speed, acceleration)})
    joint = motor - 1
    assert limits.lower[joint] >= max(low, PIPER.lower[joint])
    assert limits.upper[joint] <= min(high, PIPER.upper[joint])
    assert limits.max_velocity[joint] <= min(speed, 3.0)
    assert limits.max_acceleration[joint] <= min(acceleration, 5.0)
    assert (limits.lower < limits.upper).all()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({**WIDE, 3: MotorLimits(0.0, 0.0, 3.0, 5.0)}, "motor 3 answers corrupted limits"),
        ({**WIDE, 3: MotorLimits(-1.0, 1.0, 0.0, 5.0)}, "motor 3 answers corrupted limits"),
        ({**WIDE, 2: MotorLimits(-3.0, -1.0, 3.0, 5.0)}, "joint2: nothing is allowed"),
        ({motor: WIDE[motor] for motor in (1, 2, 3, 4, 5)}, "motor 6 did not answer"),
    ],
)
def test_limits_that_cannot_be_are_refused(answers: dict[int, MotorLimits], said: str) -> None:
    with pytest.raises(IdentityError, match=said):
        intersect(PIPER, answers)


def test_an_arm_file_of_another_arm_is_refused() -> None:
    with pytest.raises(ConfigError, match="joint1"):
        check_arm_file(replace(PIPER, joint_names=("shoulder", *PIPER.joint_names[1:])))
