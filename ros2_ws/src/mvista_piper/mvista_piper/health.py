"""What is wrong with an enabled arm, and how many frames it sends. No state of the driver's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.errors import (
    ArmFaultError,
    ArmNotReadyError,
    BusLostError,
    MvistaError,
    StaleFeedbackError,
)
from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S, seconds_to_ns
from mvista_piper.feedback import Feedback
from mvista_piper.limits import MOTORS
from mvista_piper.link import LinkCounters
from mvista_piper.plausible import RUN
from mvista_piper.protocol import CtrlMode, MoveMode
from mvista_piper.said import CTRL_MODES

FOREIGN_WITHIN_S = 1.0


@dataclass(frozen=True)
class Before:
    """What had been counted when the arm was enabled: frames of another sender, runs of drops."""

    foreign: int
    runs: int


class FrameMeter:
    """Frames received and dropped per second over whole seconds."""

    def __init__(self, now_ns: int) -> None:
        self._began_ns, self._began_at, self._dropped_at = now_ns, 0, 0
        self.rate_hz: float | None = None
        self.dropped_hz = 0.0

    def update(self, received: int, feedback: Feedback, now_ns: int) -> None:
        """Called often with the running count; the rates change once a second."""
        elapsed_ns = now_ns - self._began_ns
        if elapsed_ns < NS_PER_S:
            return
        dropped = feedback.dropped
        self.rate_hz = (received - self._began_at) * NS_PER_S / elapsed_ns
        # `forget` begins at zero again.
        self.dropped_hz = max(dropped - self._dropped_at, 0) * NS_PER_S / elapsed_ns
        self._began_ns, self._began_at, self._dropped_at = now_ns, received, dropped


def find_bus_fault(counters: LinkCounters, lost_after: int) -> MvistaError | None:
    """The bus itself: sends that fail in a row."""
    if counters.failed_in_a_row < lost_after:
        return None
    return BusLostError(
        f"{counters.failed_in_a_row} frames in a row could not be sent ({counters.last_error}): "
        "bus-off, adapter unplugged, or a transmit queue too short (`ip link set can0 txqueuelen "
        "1000`). Check the cable, then re-arm"
    )


def refuse_company(counters: LinkCounters, now_ns: int) -> None:
    """Raises `ArmNotReadyError`: someone else sent set-points on this bus just now."""
    since_ns = counters.last_foreign_ns
    if since_ns is not None and now_ns - since_ns < seconds_to_ns(FOREIGN_WITHIN_S):
        raise ArmNotReadyError(
            f"another program or a leader arm sends 0x{counters.last_foreign_id:03X} on this "
            "bus; stop it first: two writers mix their set-points"
        )


def find_fault(
    feedback: Feedback, counters: LinkCounters, before: Before, now_ns: int
) -> MvistaError | None:
    """Why an enabled arm must not be commanded on, or None. The worst is named first."""
    if counters.foreign > before.foreign:
        return ArmFaultError(
            f"a second writer is on the bus: {counters.foreign - before.foreign} frames of "
            f"0x{counters.last_foreign_id:03X} that this driver did not send. Stop the other "
            "program or unplug the leader arm, then re-arm"
        )
    runs, said = feedback.runs
    if runs > before.runs:
        return ArmFaultError(
            f"{RUN} frames in a row say what cannot be ({said}): a sensor, the cable or another "
            "sender of the arm's ids. Look at it, then re-arm"
        )
    stale = feedback.stale(now_ns)
    if stale:
        return StaleFeedbackError(
            f"feedback is missing or old: {stale}. Check power and the CAN cable, then re-arm"
        )
    return _find_arm_fault(feedback, now_ns)


def find_frozen(
    feedback: Feedback, held: Float64, after_s: float, beyond_rad: float, now_ns: int
) -> MvistaError | None:
    """A joint that keeps saying the same although its set-point, `held` [J], is elsewhere.

    Its frames come and are fresh: only the value is wrong, or the joint is blocked.
    """
    measured = feedback.positions(now_ns)
    if measured is None:
        return None
    away = np.abs(held - measured)[:MOTORS]
    # The cheap question first: this runs at every tick, and joints are hardly ever away.
    if away.max() <= beyond_rad:
        return None
    still_s = feedback.unchanged_s(now_ns)
    frozen = np.flatnonzero((away > beyond_rad) & (still_s > after_s))
    if not len(frozen):
        return None
    said = ", ".join(
        f"joint{joint + 1} said {measured[joint]:.4f} for {still_s[joint]:.2f} s, its "
        f"set-point is {away[joint]:.3f} rad away"
        for joint in frozen
    )
    return ArmFaultError(f"{said}: frozen feedback or a blocked joint. Look at it, then re-arm")


def _find_arm_fault(feedback: Feedback, now_ns: int) -> MvistaError | None:
    status = feedback.status(now_ns)
    problems = [status.problem] if status and status.problem else []
    for number, motor in enumerate(feedback.motors(now_ns), start=1):
        if motor and motor.problem:
            problems.append(
                f"motor {number}: {motor.problem} (motor {motor.motor_temperature_c:.0f} C, "
                f"driver {motor.driver_temperature_c:.0f} C)"
            )
        elif motor and not motor.enabled:
            problems.append(f"motor {number} is no longer enabled")
    if (
        status
        and not problems
        and (status.ctrl_mode, status.mode_feed) != (CtrlMode.CAN, MoveMode.JOINT)
    ):
        mode = CTRL_MODES.get(status.ctrl_mode, "unknown")
        problems.append(
            f"the arm left CAN joint control: ctrl_mode {status.ctrl_mode} ({mode}), mode_feed "
            f"{status.mode_feed}"
        )
    if not problems:
        return None
    return ArmFaultError(f"{'; '.join(problems)}. The arm holds; clear the cause, then re-arm")
