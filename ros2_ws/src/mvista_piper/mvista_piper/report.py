"""The driver's status in words and numbers, for `/diagnostics`, `status` and the log. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.errors import MvistaError
from mvista_core.timing import NS_PER_S
from mvista_piper.status import DriverStatus, Mode

MANY_DROPS_HZ = 5.0
"""More frames per second than this that give no value are said."""
_ERROR_MODES = frozenset({Mode.FAULT, Mode.REFUSED, Mode.SEARCHING})


@dataclass
class Rates:
    """Messages since the last report; `take` turns them into rates."""

    began_ns: int
    states: int = 0
    commands: int = 0

    def take(self, now_ns: int) -> tuple[tuple[str, str], ...]:
        """Names and rates, and the count begins again."""
        elapsed_s = max(now_ns - self.began_ns, 1) / NS_PER_S
        rates = (
            ("joint states (Hz)", f"{self.states / elapsed_s:.1f}"),
            ("joint commands (Hz)", f"{self.commands / elapsed_s:.1f}"),
        )
        self.began_ns, self.states, self.commands = now_ns, 0, 0
        return rates


def sentence(mode: Mode, reason: MvistaError | None) -> str:
    """The mode, and why the arm is not moved, with its number."""
    return f"{mode.value}: [{reason.code}] {reason}" if reason else mode.value


def grade(status: DriverStatus, min_frame_rate_hz: float) -> tuple[str, str]:
    """OK, WARN or ERROR, and one sentence with the reason's number."""
    said = sentence(status.mode, status.reason)
    if status.mode in _ERROR_MODES:
        return "ERROR", said
    warnings = []
    if status.frame_rate_hz is not None and status.frame_rate_hz < min_frame_rate_hz:
        warnings.append(
            f"{status.frame_rate_hz:.0f} frames/s, at least {min_frame_rate_hz:.0f} expected"
        )
    if status.dropped_rate_hz >= MANY_DROPS_HZ:
        warnings.append(f"{status.dropped_rate_hz:.0f} frames/s dropped: {status.drops}")
    if status.counters.failed_in_a_row:
        warnings.append(f"frames not sent: {status.counters.last_error}")
    if status.identity and 0 in status.identity.collision_levels:
        warnings.append("collision protection is off on a joint")
    if warnings or status.mode is Mode.READY:
        return "WARN", "; ".join([said, *warnings])
    return "OK", said


def describe(status: DriverStatus) -> tuple[tuple[str, str], ...]:
    """Names and values with units."""
    counters, rate = status.counters, status.frame_rate_hz
    values = [
        ("mode", status.mode.name.lower()),
        ("frames received (Hz)", "unknown" if rate is None else f"{rate:.0f}"),
        ("frames sent", str(counters.sent)),
        ("frames not sent", str(counters.failed)),
        ("error frames", str(counters.error_frames)),
        ("frames of another sender", str(counters.foreign)),
        ("frames dropped", status.drops or "0"),
        (
            "frames not of an arm's form",
            f"{counters.flawed} flawed, {counters.strange} 29-bit or remote",
        ),
        ("set-points refused", str(status.refused_commands)),
    ]
    if status.arm is not None:
        values.append(("ctrl_mode, arm status", f"{status.arm.ctrl_mode}, {status.arm.status}"))
    values += [
        (
            f"motor {number}",
            f"{'on' if motor.enabled else 'off'}, {motor.motor_temperature_c:.0f} C, driver "
            f"{motor.driver_temperature_c:.0f} C, {motor.voltage_v:.1f} V, bits 0x{motor.bits:02X}",
        )
        for number, motor in enumerate(status.motors, start=1)
        if motor is not None
    ]
    if status.identity is not None:
        limits = status.identity.limits
        lower, upper = (np.array2string(v, precision=3) for v in (limits.lower, limits.upper))
        values += [
            ("firmware, role", f"{status.identity.firmware}, {status.identity.role.value}"),
            ("collision levels", str(list(status.identity.collision_levels))),
            ("lower limits (rad, m)", lower),
            ("upper limits (rad, m)", upper),
        ]
    return tuple(values)
