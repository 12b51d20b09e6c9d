"""Stage 4b: the limits, twice. The whole curve before anything moves, every set-point as it goes.

Neither clamps. A curve that passes a limit is refused; a set-point that would is not sent, and the
stream stops into a hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ExecutionError, TrajectoryError
from mvista_core.records import Float64
from mvista_core.timing import ns_to_seconds
from mvista_executor.retime import TimedCurve

_RELATIVE = 1e-6
_ROUNDING = 1e-9
_SAMPLE_S = 0.001
_PIECE = 5000
"""Samples judged at a time: a long motion takes no more memory than a short one."""
_NOISE = 4e-10
"""Rad or m that arithmetic may move one set-point by, in divided differences."""


def pieces(duration_s: float, sample_s: float) -> Iterator[Float64]:
    """Times from 0 to `duration_s` in steps of at most `sample_s`, `_PIECE` of them at a time.

    Each piece begins with the last time of the one before: no step is left out.
    """
    steps = int(duration_s / sample_s) + 1
    for first in range(0, steps, _PIECE):
        count = np.arange(first, min(first + _PIECE, steps) + 1)
        yield np.asarray(count * (duration_s / steps), dtype=np.float64)


def verify(follow: TimedCurve, arm: ArmModel) -> None:
    """Sample the timed curve every millisecond against the arm's limits.

    Raises:
        TrajectoryError: `POSITION_LIMIT`, `VELOCITY_LIMIT`, `ACCELERATION_LIMIT`, `JERK_LIMIT`.
    """
    for times_s in pieces(follow.duration_s, _SAMPLE_S):
        _verify_piece(follow, times_s, arm)


def _verify_piece(follow: TimedCurve, times_s: Float64, arm: ArmModel) -> None:
    state = follow.sampled(times_s)
    # Acceleration is continuous: its change over a sample is the mean jerk of that sample.
    jerks = np.diff(state.accelerations, axis=0) / np.diff(times_s)[:, None]
    for reason, what, value, low, high in (
        (TrajectoryError.POSITION_LIMIT, "", state.positions, arm.lower, arm.upper),
        (TrajectoryError.VELOCITY_LIMIT, " per s", state.velocities, *_both(arm.max_velocity)),
        (
            TrajectoryError.ACCELERATION_LIMIT,
            *(" per s2", state.accelerations, *_both(arm.max_acceleration)),
        ),
        (TrajectoryError.JERK_LIMIT, " per s3", jerks, *_both(arm.max_jerk)),
    ):
        slack = _RELATIVE * 0.5 * (high - low) + _ROUNDING
        # Turned round, so that what is not a number is over the limit too.
        over = np.argwhere(~((value >= low - slack) & (value <= high + slack)))
        if len(over):
            at, joint = over[0]
            raise TrajectoryError(
                reason,
                f"{times_s[at]:.3f} s into the curve {arm.joint_names[joint]} would be at "
                f"{value[at, joint]:.4f}{what}, allowed {low[joint]:.4f} to {high[joint]:.4f}",
            )


def _both(largest: Float64) -> tuple[Float64, Float64]:
    """The range of what is bounded by its size."""
    return -largest, largest


class SendGate:
    """Judges each set-point against the limits from the three sent before it.

    Velocity, acceleration and jerk are the first, second and third divided difference of what is
    sent, over the real times between sending. For a C2 curve these are means of the true ones, so
    a curve within the limits always passes, however unevenly it is sampled.
    """

    def __init__(self, arm: ArmModel, period_s: float) -> None:
        self._arm = arm
        self._period_s = period_s
        self._time_ns = 0
        self._positions: Float64 | None = None
        self._velocity: Float64 = np.zeros(len(arm.joint_names))
        self._acceleration: Float64 = np.zeros(len(arm.joint_names))
        self._steps_s = (period_s, period_s)

    def restart(self) -> None:
        """Forget what was sent: the next set-point is taken as sent from rest."""
        self._positions = None

    def rest(self, time_ns: int) -> None:
        """The set-point that was sent last was sent again, at a monotonic time, and rests."""
        self._time_ns = time_ns
        self._rest()

    def admit(self, time_ns: int, positions: Float64) -> None:
        """Let a set-point [J] at a monotonic time pass, and remember it.

        Raises:
            ExecutionError: it would pass a limit; it is not remembered and must not be sent.
        """
        arm = self._arm
        if not np.isfinite(positions).all():
            raise ExecutionError("a set-point is not finite; it was not sent")
        self._refuse(positions < arm.lower - _ROUNDING, "position", positions, arm.lower)
        self._refuse(positions > arm.upper + _ROUNDING, "position", positions, arm.upper)
        if self._positions is None:
            self._rest()
        else:
            step_s = ns_to_seconds(time_ns - self._time_ns)
            # Two set-points at one instant have no velocity: only the same one may pass.
            if step_s <= 0.0:
                self._refuse(
                    positions != self._positions, "a second set-point", positions, positions
                )
                return
            self._admit_step(positions - self._positions, step_s)
        self._time_ns, self._positions = time_ns, positions

    def _admit_step(self, step: Float64, step_s: float) -> None:
        arm, (before_s, last_s) = self._arm, self._steps_s
        # n! times the n-th divided difference is a weighted mean of the n-th derivative.
        velocity = step / step_s
        acceleration = 2.0 * (velocity - self._velocity) / (last_s + step_s)
        jerk = 3.0 * (acceleration - self._acceleration) / (before_s + last_s + step_s)
        shortest_s = min(step_s, last_s, before_s)
        for what, value, allowed, order in (
            ("velocity", velocity, arm.max_velocity, 1),
            ("acceleration", acceleration, arm.max_acceleration, 2),
            ("jerk", jerk, arm.max_jerk, 3),
        ):
            bound = allowed * (1 + _RELATIVE) + _NOISE / shortest_s**order
            self._refuse(np.abs(value) > bound, what, value, allowed)
        self._velocity, self._acceleration = velocity, acceleration
        self._steps_s = (last_s, step_s)

    def _rest(self) -> None:
        self._velocity = self._acceleration = np.zeros(len(self._arm.joint_names))
        self._steps_s = (self._period_s, self._period_s)

    def _refuse(self, bad: np.ndarray, what: str, values: Float64, allowed: Float64) -> None:
        for joint in np.flatnonzero(bad):
            raise ExecutionError(
                f"not sent: {what} of {self._arm.joint_names[joint]} would be "
                f"{values[joint]:.4f}, allowed {allowed[joint]:.4f}; the arm holds"
            )
