"""Driver settings: one frozen record, read from `config/piper.yaml`, checked across fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mvista_core.errors import ConfigError

INTERFACES = ("socketcan", "udp_multicast", "virtual")


def _setting(
    default: bool | int | float | str,
    text: str,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    # The metadata is what `mvista_ros.parameters.declare` shows for a ROS parameter.
    return field(default=default, metadata={"text": text, "minimum": low, "maximum": high})


@dataclass(frozen=True)
class BusSettings:
    """How the bus of an arm is reached."""

    interface: str = _setting(
        "socketcan", "python-can interface: socketcan, udp_multicast, virtual"
    )
    channel: str = _setting("", "Channel, e.g. can0 or a multicast group; empty: by adapter_serial")
    adapter_serial: str = _setting("", "Serial of the USB-CAN adapter that the arm hangs on")
    udp_port: int = _setting(43113, "Port of the udp_multicast interface", 1024, 65535)

    def __post_init__(self) -> None:
        if self.interface not in INTERFACES:
            raise ConfigError(f"interface is '{self.interface}'; allowed: {', '.join(INTERFACES)}")


@dataclass(frozen=True)
class PiperSettings(BusSettings):
    """How the arm is reached, when it counts as lost, and what a set-point may ask."""

    enable_at_start: bool = _setting(
        False, "Enable the motors once the arm is identified and the node is active"
    )
    accept_firmware: str = _setting("", "A newer firmware than known that the operator vouches for")
    min_collision_level: int = _setting(0, "Refuse an arm with a lower collision level", 0, 8)
    command_rate_hz: float = _setting(200.0, "Set-points per second that arrive", 50.0, 500.0)
    command_timeout_s: float = _setting(
        0.1, "No set-point for so long: hold at the last one", 0.02, 1.0
    )
    longest_step_s: float = _setting(
        0.05, "A step may cover at most this much time at the speed limit", 0.005, 0.1
    )
    engage_within_rad: float = _setting(
        0.05, "The first set-point lies at most this far from the measured joint", 0.001, 0.2
    )
    engage_within_m: float = _setting(0.005, "The same for the gripper", 0.0005, 0.02)
    limit_slack_rad: float = _setting(
        0.05, "A joint farther outside its limit than this is not enabled", 0.0, 0.2
    )
    limit_slack_m: float = _setting(0.005, "The same for the gripper", 0.0, 0.02)
    motors_within_rad: float = _setting(
        0.05, "A joint farther than this from its own motor (0x251-256) is not enabled", 0.045, 0.2
    )
    hold_refresh_s: float = _setting(
        0.05, "While holding the last set-point is repeated this often", 0.005, 0.5
    )
    gripper_effort_nm: float = _setting(1.0, "Gripper torque limit", 0.0, 5.0)
    stale_after_s: float = _setting(
        0.1, "Joint and status frames (200 Hz) older than this are no pose", 0.02, 0.5
    )
    slow_stale_after_s: float = _setting(
        0.3, "Driver frames (40 Hz: enable bits, temperatures) older than this are lost", 0.05, 2.0
    )
    frozen_after_s: float = _setting(
        0.1, "A joint whose value has not changed for so long, away from its set-point", 0.02, 1.0
    )
    frozen_beyond_rad: float = _setting(
        0.1, "by more than this, is a fault: frozen feedback, or a blocked joint", 0.01, 1.0
    )
    min_frame_rate_hz: float = _setting(
        2000.0, "Fewer frames per second than this: warning (2,440 are read)", 0.0, 3040.0
    )
    identity_timeout_s: float = _setting(2.0, "Time for the arm to say what it is", 0.2, 30.0)
    enable_timeout_s: float = _setting(5.0, "Time for all six motors to enable", 0.5, 30.0)
    enable_period_s: float = _setting(0.1, "Enable is sent this often", 0.01, 1.0)
    mode_timeout_s: float = _setting(1.0, "Time for the arm to take the control mode", 0.1, 10.0)
    lost_after_failures: int = _setting(
        12, "So many frames in a row that could not be sent: the bus is lost", 1, 1000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.period_s <= self.longest_step_s < self.command_timeout_s:
            raise ConfigError(
                f"needs 1/command_rate_hz <= longest_step_s < command_timeout_s, got "
                f"{self.period_s:.4f}, {self.longest_step_s}, {self.command_timeout_s}"
            )

    @property
    def period_s(self) -> float:
        """Seconds between two set-points."""
        return 1.0 / self.command_rate_hz


@dataclass(frozen=True)
class LeaderSettings(BusSettings):
    """How a leader's bus is reached, and when the leader counts as resting, or as lost."""

    listen_only: bool = _setting(
        False, "Send nothing: leader and follower share the bus; the follower is told as well"
    )
    question_period_s: float = _setting(
        0.5,
        "The leader is asked for its firmware (0x4AF) so often: it answers at rest too",
        0.1,
        5.0,
    )
    answer_timeout_s: float = _setting(
        1.6, "No frame of the leader for so long: lost; over two questions' time", 0.3, 20.0
    )
    rest_after_s: float = _setting(0.05, "No set-point for so long: the leader rests", 0.01, 0.5)
    reopen_s: float = _setting(1.0, "A bus that was lost is opened anew so often", 0.1, 30.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer_timeout_s <= 2 * self.question_period_s:
            raise ConfigError(
                f"answer_timeout_s is {self.answer_timeout_s}; it must be over 2 x "
                f"question_period_s ({self.question_period_s}), or one lost frame loses the leader"
            )
