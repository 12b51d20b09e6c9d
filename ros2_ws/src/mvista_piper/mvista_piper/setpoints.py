"""Which set-points may go to the wire: whole, finite, within limits, and never a jump.

The arm tracks set-points as they come, with no smoothing of its own, so a step beyond
speed limit x elapsed time is refused here, whatever the sender's own limiter did. Pure arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.errors import TrajectoryError
from mvista_core.records import Float64, JointCommand
from mvista_core.set_points import positions_of
from mvista_core.timing import ns_to_seconds
from mvista_piper.limits import MOTORS, JointLimits

_LIMIT_ROUNDING = 2e-5
"""Set-points are rounded to 0.001 degree (1.75e-5 rad) on the wire."""
_STEP_ROUNDING = 1e-4
_REACHED = 1e-6


@dataclass(frozen=True)
class SentSetPoint:
    """What was last sent: positions [J], the speeds [J] it moved with, when; the sender's stamp."""

    positions: Float64
    velocities: Float64
    sent_ns: int
    stamp_ns: int


class SetPoints:
    """The set-points of one enabled arm, from the measured pose on.

    After enabling and after every hold the stream is not engaged: the next command must lie near
    the measured pose, and the few steps to it are taken at the speed limit. From then on each
    command must be within speed limit x elapsed time of the last.
    """

    def __init__(
        self, limits: JointLimits, period_s: float, longest_s: float, engage_within: Float64
    ) -> None:
        """`engage_within` [J]; elapsed time counts as `period_s` at least, `longest_s` at most."""
        self._limits, self._period_s, self._longest_s = limits, period_s, longest_s
        self._engage_within = engage_within
        self._last: SentSetPoint | None = None
        self._engaged = False

    @property
    def last(self) -> SentSetPoint:
        """The newest set-point sent; there is one from `start` on."""
        if self._last is None:
            raise RuntimeError("no set-point before `start`")
        return self._last

    def start(self, measured: Float64, now_ns: int) -> Float64:
        """The first set-point of an enabled arm: the measured pose itself."""
        self._last = SentSetPoint(measured.copy(), np.zeros_like(measured), now_ns, 0)
        self._engaged = False
        return measured

    def release(self) -> None:
        """A hold: the stream has ended, the next command engages afresh."""
        self._engaged = False
        last = self.last
        self._last = SentSetPoint(last.positions, np.zeros_like(last.positions), last.sent_ns, 0)

    def accept(self, command: JointCommand, measured: Float64, now_ns: int) -> Float64:
        """Positions [J] to send for this command.

        Raises:
            TrajectoryError: refused whole; nothing is sent and the last set-point stands.
        """
        last = self.last
        wanted = positions_of(command, self._limits.names, last.positions)
        check_limits(wanted, self._limits)
        elapsed_s = self._elapsed_s(command, now_ns)
        reach = self._limits.max_velocity * elapsed_s
        sent = wanted
        if self._engaged:
            self._check_step(wanted, reach, elapsed_s)
        else:
            self._check_engagement(wanted, measured)
            sent = last.positions + np.clip(wanted - last.positions, -reach, reach)
            self._engaged = bool(np.abs(sent - wanted).max() <= _REACHED)
        self._store(sent, (sent - last.positions) / elapsed_s, now_ns, command.stamp_ns)
        return sent

    def brake(self, now_ns: int) -> Float64 | None:
        """The next set-point of a smooth stop, or None when the arm is at rest."""
        last = self.last
        if not last.velocities.any():
            return None
        elapsed_s = min(ns_to_seconds(now_ns - last.sent_ns), self._longest_s)
        # Speed falls by a dt, then the joint moves by v dt; jerk is not bounded here.
        lost = self._limits.max_acceleration * elapsed_s
        speed = np.sign(last.velocities) * np.maximum(np.abs(last.velocities) - lost, 0.0)
        low, high = self._limits.lower, self._limits.upper
        # A joint that started a little outside its limits stays there; it is not pulled in here.
        low, high = np.minimum(low, last.positions), np.maximum(high, last.positions)
        wanted = np.clip(last.positions + speed * elapsed_s, low, high)
        self._store(wanted, speed, now_ns, 0)
        return wanted

    def repeated(self, now_ns: int) -> None:
        """The last set-point was sent again."""
        last = self.last
        self._last = SentSetPoint(last.positions, last.velocities, now_ns, last.stamp_ns)

    def _store(self, positions: Float64, velocities: Float64, now_ns: int, stamp_ns: int) -> None:
        # Rounding may put a step a hair beyond the limit.
        bound = self._limits.max_velocity
        self._last = SentSetPoint(positions, np.clip(velocities, -bound, bound), now_ns, stamp_ns)

    def _elapsed_s(self, command: JointCommand, now_ns: int) -> float:
        """Time since the last command: ours or the sender's, whichever is longer.

        Two commands that were sent 5 ms apart may arrive 1 ms apart on a busy machine.
        """
        last = self.last
        ours_s = ns_to_seconds(now_ns - last.sent_ns)
        both = command.stamp_ns and last.stamp_ns
        theirs_s = ns_to_seconds(command.stamp_ns - last.stamp_ns) if both else 0.0
        # A burst still has a period for each step, and a long silence does not buy a long one.
        return float(np.clip(max(ours_s, theirs_s), self._period_s, self._longest_s))

    def _check_step(self, wanted: Float64, reach: Float64, elapsed_s: float) -> None:
        step = np.abs(wanted - self.last.positions)
        excess = step - reach
        worst = int(np.argmax(excess))
        if excess[worst] > _STEP_ROUNDING:
            raise TrajectoryError(
                TrajectoryError.VELOCITY_LIMIT,
                f"{self._limits.names[worst]} would step {step[worst]:.4f} in {elapsed_s:.4f} s; "
                f"at most {reach[worst]:.4f} ({self._limits.max_velocity[worst]:.2f}/s) allowed. "
                "The whole set-point is refused, the arm brakes",
            )

    def _check_engagement(self, wanted: Float64, measured: Float64) -> None:
        # Near both: the way begins at the held set-point, and the arm is where it is measured.
        for label, reference in (("measured", measured), ("held", self.last.positions)):
            away = np.abs(wanted - reference)
            worst = int(np.argmax(away - self._engage_within))
            if away[worst] > self._engage_within[worst]:
                raise TrajectoryError(
                    TrajectoryError.START_TOO_FAR,
                    f"{self._limits.names[worst]} is {label} at {reference[worst]:.4f}, the first "
                    f"set-point says {wanted[worst]:.4f}: {away[worst]:.4f} away, at most "
                    f"{self._engage_within[worst]:.4f} allowed. Start at the measured pose",
                )


def check_limits(positions: Float64, limits: JointLimits) -> None:
    """Raises `TrajectoryError` (POSITION_LIMIT) when a joint [J] is outside its range."""
    outside = limits.outside(positions, _LIMIT_ROUNDING)
    if outside:
        raise TrajectoryError(
            TrajectoryError.POSITION_LIMIT,
            f"{'; '.join(outside)} (arm file, firmware and published table together)",
        )


def per_joint(names: tuple[str, ...], revolute: float, gripper: float) -> Float64:
    """One value per joint [J]: `revolute` for the motors, `gripper` for what follows."""
    return np.array([revolute if i < MOTORS else gripper for i in range(len(names))])
