"""Who is on the bus: firmware, role, limits and collision level, read before anything moves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import IdentityError
from mvista_piper.limits import MOTORS, JointLimits, MotorLimits, intersect

Version = tuple[int, int, int]

OLDEST_KNOWN: Version = (1, 5, 2)
"""The first firmware with the fields this driver reads."""
FIRST_NEW_DH: Version = (1, 6, 3)
"""From here joints 2 and 3 are offset by 2 degrees (piper_sdk `dh_is_offset`)."""
NEWEST_KNOWN: tuple[int, int] = (1, 8)
NEW_DH_OFFSET_DEG = -172.22
OLD_DH_OFFSET_DEG = -174.22
"""theta0 of joint 2 in piper_sdk's `C_PiperForwardKinematics`, with and without the offset."""
_DH_TOLERANCE_DEG = 0.1


class Role(Enum):
    """What an arm on the bus does with commands (0x470)."""

    FOLLOWER = "follower"
    LEADER = "leader"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ArmAnswers:
    """All that was read from the arm. Collision levels are 0 (off) to 8, motor 1 first."""

    firmware: str
    role: Role
    motor_limits: Mapping[int, MotorLimits]
    collision_levels: tuple[int, ...]


@dataclass(frozen=True)
class ArmIdentity:
    """A checked arm: what it is and the limits that hold for it."""

    firmware: str
    role: Role
    limits: JointLimits
    collision_levels: tuple[int, ...]


def parse_firmware(text: str) -> Version:
    """`S-V1.8-8` as (1, 8, 8).

    Raises:
        IdentityError: no firmware of this form.
    """
    match = re.fullmatch(r"S-V(\d+)\.(\d+)-(\d+)", text)
    if match is None:
        raise IdentityError(
            f"unknown firmware '{text}'; this driver knows S-V1.5-2 to S-V1.8-x (query 0x4AF)"
        )
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


def check_identity(
    answers: ArmAnswers, arm: ArmModel, min_collision_level: int = 0, accept_firmware: str = ""
) -> ArmIdentity:
    """Agree to move this arm, or say why not.

    `accept_firmware` is a firmware newer than this driver knows that the operator vouches for.

    Raises:
        IdentityError: leader or unknown role, unknown firmware, a DH table that is not the arm
            file's, corrupted or contradicting limits, or too low a collision level.
    """
    _check_role(answers.role)
    _check_firmware(answers.firmware, arm, accept_firmware)
    limits = intersect(arm, answers.motor_limits)
    levels = answers.collision_levels
    low = [
        f"joint{i + 1}: {level}" for i, level in enumerate(levels) if level < min_collision_level
    ]
    if len(levels) != MOTORS or low:
        raise IdentityError(
            f"collision protection is {', '.join(low) or 'unknown'}; `min_collision_level` asks "
            f"for {min_collision_level} of 8 on every joint (set it with 0x47A)"
        )
    return ArmIdentity(answers.firmware, answers.role, limits, levels)


def _check_role(role: Role) -> None:
    if role is Role.FOLLOWER:
        return
    if role is Role.LEADER:
        raise IdentityError(
            "the arm is a leader (0x470 = 0xFA): it sends set-points instead of obeying them. "
            "Unplug any follower, then call the service `make_follower` (0x470 = 0xFC); the role "
            "survives a power cycle"
        )
    raise IdentityError("the arm's role is unknown: no status frame (0x2A1) was received")


def _check_firmware(firmware: str, arm: ArmModel, accept_firmware: str) -> None:
    version = parse_firmware(firmware)
    # Every patch of 1.8: MIT's encoding, which S-V1.8-8 changed, is not sent from here.
    known = version >= OLDEST_KNOWN and version[:2] <= NEWEST_KNOWN
    if not known and firmware != accept_firmware:
        raise IdentityError(
            f"unknown firmware '{firmware}'; this driver knows S-V1.5-2 to S-V1.8-x. Read its "
            "protocol notes, then set `accept_firmware` to this very string"
        )
    # Joint 2 tells for both: the same firmware moved joint 3's zero as far the other way.
    offset_deg = NEW_DH_OFFSET_DEG if version >= FIRST_NEW_DH else OLD_DH_OFFSET_DEG
    described_deg = float(np.rad2deg(arm.dh[1].theta_offset_rad))
    if abs(described_deg - offset_deg) > _DH_TOLERANCE_DEG:
        raise IdentityError(
            f"firmware '{firmware}' has joint 2 at {offset_deg:.2f} deg in its DH table, the arm "
            f"file at {described_deg:.2f} deg: joints 2 and 3 would be 2 degrees (10 mm at the "
            "flange) off. Update the arm to S-V1.6-3 or later, or use an arm file with its offsets"
        )
