"""The parameters of the teleoperation node: wiring, mapping, and what couples the arms."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_ros.parameters import parameter
from mvista_teleop.mapping import GripperMapping, Mapping
from mvista_teleop.settings import CouplingSettings

HOST, BUS = "host", "bus"


@dataclass(frozen=True)
class TeleopParameters(CouplingSettings):
    """Declared by `TeleopNode`; all are fixed once it runs."""

    arm_file: str = parameter("config/arms/piper.yaml", "The follower's arm file: joints, limits")
    wiring: str = parameter(HOST, "host: a bus per arm, or bus: leader and follower on one")
    leader: str = parameter("leader", "Namespace of the leader's reader")
    follower: str = parameter("piper", "Namespace of the follower's driver")
    joint_signs: tuple[float, ...] = parameter((1.0,) * 6, "1 or -1 per joint", -1.0, 1.0)
    joint_scales: tuple[float, ...] = parameter((1.0,) * 6, "Scale per joint", 0.1, 5.0)
    joint_offsets_rad: tuple[float, ...] = parameter(
        (0.0,) * 6, "Added to each scaled joint", -6.3, 6.3
    )
    gripper_scale: float = parameter(
        1.0, "Of the opening; 0.7: leader of 0.1 m, follower of 0.07 m. Negative reverses it",
        -5.0, 5.0,
    )  # fmt: skip
    gripper_offset_m: float = parameter(0.0, "Added to the scaled opening", -0.2, 0.2)
    gripper_dead_band_m: float = parameter(
        0.0, "Openings of the leader below this count as shut", 0.0, 0.05
    )
    repeat_rate_hz: float = parameter(
        60.0, "While nothing comes of the leader the set-point is repeated so often", 50.0, 200.0
    )

    def __post_init__(self) -> None:
        if self.wiring not in (HOST, BUS):
            raise ConfigError(f"wiring is '{self.wiring}'; allowed: {HOST}, {BUS}")

    def mapping(self, arm: ArmModel) -> Mapping:
        """Of a leader's joints and opening to those of the follower `arm`."""
        gripper = GripperMapping(
            self.gripper_scale, self.gripper_offset_m, self.gripper_dead_band_m
        )
        return Mapping(arm, self.joint_signs, self.joint_scales, self.joint_offsets_rad, gripper)
