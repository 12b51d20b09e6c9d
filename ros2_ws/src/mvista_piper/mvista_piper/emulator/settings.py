"""What the emulated arm is when it is switched on."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_core.errors import ConfigError
from mvista_piper.protocol import MOTORS

# The older is from before S-V1.6-3, which moved the zeros of joints 2 and 3 by 2 degrees.
FIRMWARE, OLD_FIRMWARE = "S-V1.8-8", "S-V1.5-8"
LOWER_DEG = (-150.0, 0.0, -170.0, -100.0, -70.0, -120.0)
UPPER_DEG = (150.0, 180.0, 0.0, 100.0, 70.0, 120.0)
"""What piper_sdk and pyAgxArm publish."""
MAX_SPEED_RAD_S, MAX_ACCELERATION_RAD_S2 = 3.0, 5.0
GRIPPER_SPEED_M_S, GRIPPER_ACCELERATION_M_S2 = 0.2, 2.0
REST_RAD = (0.0,) * MOTORS
"""Folded on itself: the pose that the arm keeps without power."""


@dataclass(frozen=True)
class EmulatorSettings:
    """`joints_rad` [6] and `gripper_m` are where the arm stands.

    `enabled`: its motors are on and hold, as an earlier driver left them. Without power it falls
    from any pose that is not its rest.
    """

    joints_rad: tuple[float, ...] = REST_RAD
    gripper_m: float = 0.0
    enabled: bool = False
    firmware: str = FIRMWARE
    collision_level: int = 5
    gripper_stroke_m: float = 0.07

    def __post_init__(self) -> None:
        if len(self.joints_rad) != MOTORS:
            raise ConfigError(f"{len(self.joints_rad)} joint angles; the arm has {MOTORS} joints")
        if not 0.0 <= self.gripper_m <= self.gripper_stroke_m:
            raise ConfigError(
                f"gripper opening {self.gripper_m} m; allowed: 0 to {self.gripper_stroke_m}"
            )
        if not 0 <= self.collision_level <= 8:
            raise ConfigError(f"collision level {self.collision_level}; allowed: 0 (off) to 8")
