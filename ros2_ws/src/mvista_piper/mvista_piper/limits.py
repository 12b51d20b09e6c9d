"""Joint limits: what the arm file, the arm's own answer and the maker's table all allow.

The arm file says where its limits are from (`position_limits`). An arm may be set to less (0x474),
and only it knows: the narrower counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError, IdentityError
from mvista_core.records import Float64
from mvista_piper.plausible import Reach

MOTORS = 6

PUBLISHED_LOWER_DEG = (-150.0, 0.0, -170.0, -100.0, -70.0, -120.0)
PUBLISHED_UPPER_DEG = (150.0, 180.0, 0.0, 100.0, 70.0, 120.0)
"""Joint ranges of piper_sdk 0.6.2 (`JointCtrl`) and pyAgxArm."""
MAX_SPEED_RAD_S = 3.0
MAX_ACCELERATION_RAD_S2 = 5.0
"""Largest values that the settings 0x474 and 0x475 take."""

MECHANICAL_LOWER_DEG = (-154.0, 0.0, -175.0, -105.0, -75.0, -180.0)
MECHANICAL_UPPER_DEG = (154.0, 195.0, 0.0, 112.0, 75.0, 180.0)
"""The widest range that any source gives a joint, for what it may say."""
MECHANICAL_SLACK_RAD = 0.2
"""Zeros are set by hand, and stops give way: so far beyond a joint may still be."""
FASTEST_RAD_S = 2 * MAX_SPEED_RAD_S
"""A push by hand or a fall is faster than any set-point, but not by more."""
_ENCODER_NOISE_RAD = 0.01
GRIPPER_REACH = Reach("gripper", -0.01, 0.12, 0.6, 0.002)
"""Its opening in m: strokes are 0.07 and 0.1, the fingers move by 0.2 m/s and may be pushed."""


JOINT_REACHES = tuple(
    Reach(
        f"joint{joint + 1}",
        float(np.deg2rad(lower)) - MECHANICAL_SLACK_RAD,
        float(np.deg2rad(upper)) + MECHANICAL_SLACK_RAD,
        FASTEST_RAD_S,
        _ENCODER_NOISE_RAD,
    )
    for joint, (lower, upper) in enumerate(
        zip(MECHANICAL_LOWER_DEG, MECHANICAL_UPPER_DEG, strict=True)
    )
)
"""What a joint can say, joint 1 first (rad)."""


def motor_reaches(motor: int) -> tuple[Reach, Reach]:
    """What motor (from 0) can say of its position (rad) and speed (rad/s)."""
    position, speed = JOINT_REACHES[motor], FASTEST_RAD_S
    # Nothing bounds how fast a speed may change: only its range is judged.
    return (
        replace(position, name=f"motor {motor + 1}"),
        Reach(f"speed of motor {motor + 1}", -speed, speed, float("inf"), 0.0),
    )


@dataclass(frozen=True)
class MotorLimits:
    """What one motor answered to 0x472: radians and rad/s (0x473), rad/s^2 (0x47C)."""

    lower_rad: float
    upper_rad: float
    max_speed_rad_s: float
    max_acceleration_rad_s2: float


@dataclass(frozen=True)
class JointLimits:
    """The limits that hold, [J] in the arm file's order (rad, rad/s, rad/s^2; gripper in m)."""

    names: tuple[str, ...]
    lower: Float64
    upper: Float64
    max_velocity: Float64
    max_acceleration: Float64

    def outside(self, positions: Float64, slack: Float64 | float = 0.0) -> tuple[str, ...]:
        """One sentence per joint of positions [J] outside its range by more than `slack`."""
        beyond = np.maximum(self.lower - positions, positions - self.upper)
        return tuple(
            f"{name} at {position:.4f} is outside [{low:.4f}, {high:.4f}]"
            for name, position, low, high, bad in zip(
                self.names, positions, self.lower, self.upper, beyond > slack, strict=True
            )
            if bad
        )


def check_arm_file(arm: ArmModel) -> None:
    """The joints must be this arm's: six motors, then a gripper or nothing.

    Raises:
        ConfigError: any other list of joints.
    """
    expected = (*(f"joint{i + 1}" for i in range(MOTORS)), "gripper")
    if arm.joint_names not in (expected, expected[:MOTORS]):
        raise ConfigError(
            f"arm file '{arm.name}' names the joints {list(arm.joint_names)}; a Piper has "
            f"{list(expected)} (the gripper may be absent); see config/arms/piper.yaml"
        )


def intersect(arm: ArmModel, answers: Mapping[int, MotorLimits]) -> JointLimits:
    """What the arm file, the motors' answers (by motor number, 1 to 6) and the table all allow.

    Raises:
        IdentityError: a motor's answer is missing or no range, or nothing is allowed by all.
    """
    lower, upper = arm.lower.copy(), arm.upper.copy()
    speed, acceleration = arm.max_velocity.copy(), arm.max_acceleration.copy()
    # 0x472 knows six motors: the gripper is not asked, and its limits are the arm file's.
    for joint in range(MOTORS):
        answer = _sane(joint + 1, answers)
        lower[joint] = max(lower[joint], answer.lower_rad, np.deg2rad(PUBLISHED_LOWER_DEG[joint]))
        upper[joint] = min(upper[joint], answer.upper_rad, np.deg2rad(PUBLISHED_UPPER_DEG[joint]))
        speed[joint] = min(speed[joint], answer.max_speed_rad_s, MAX_SPEED_RAD_S)
        acceleration[joint] = min(
            acceleration[joint], answer.max_acceleration_rad_s2, MAX_ACCELERATION_RAD_S2
        )
        if lower[joint] >= upper[joint]:
            raise IdentityError(
                f"joint{joint + 1}: nothing is allowed by arm file [{arm.lower[joint]:.3f}, "
                f"{arm.upper[joint]:.3f}], the arm's answer [{answer.lower_rad:.3f}, "
                f"{answer.upper_rad:.3f}] and the published table together (rad)"
            )
    return JointLimits(arm.joint_names, lower, upper, speed, acceleration)


def _sane(motor: int, answers: Mapping[int, MotorLimits]) -> MotorLimits:
    answer = answers.get(motor)
    if answer is None:
        raise IdentityError(f"motor {motor} did not answer the question for its limits (0x472)")
    if not (
        answer.lower_rad < answer.upper_rad
        and answer.max_speed_rad_s > 0
        and answer.max_acceleration_rad_s2 > 0
    ):
        raise IdentityError(
            f"motor {motor} answers corrupted limits: [{answer.lower_rad:.3f}, "
            f"{answer.upper_rad:.3f}] rad, {answer.max_speed_rad_s:.3f} rad/s, "
            f"{answer.max_acceleration_rad_s2:.3f} rad/s^2; restore them with the vendor's tool "
            "(0x477, byte 1 = 2)"
        )
    return answer
