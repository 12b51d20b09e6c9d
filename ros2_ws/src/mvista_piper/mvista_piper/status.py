"""What the driver says of itself: its mode, and one record of all an operator wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mvista_core.errors import MvistaError
from mvista_piper.identity import ArmIdentity
from mvista_piper.link import LinkCounters
from mvista_piper.said import MotorStatus, SaidStatus


class Mode(Enum):
    """What the driver does. Only TRACKING and HOLDING send set-points."""

    CLOSED = "closed"
    SEARCHING = "searching for the arm"
    REFUSED = "refused"
    READY = "ready, not enabled"
    ENABLING = "enabling"
    HOLDING = "holding"
    TRACKING = "tracking"
    FAULT = "fault"


ARMED = frozenset({Mode.HOLDING, Mode.TRACKING})


@dataclass(frozen=True)
class DriverStatus:
    """One look at driver and arm. `reason` is why it does not move, None while it may.

    `drops` names the ids whose frames were dropped, how many, and each one's last reason.
    """

    mode: Mode
    reason: MvistaError | None
    identity: ArmIdentity | None
    arm: SaidStatus | None
    motors: tuple[MotorStatus | None, ...]
    counters: LinkCounters
    frame_rate_hz: float | None
    refused_commands: int
    dropped_rate_hz: float
    drops: str
