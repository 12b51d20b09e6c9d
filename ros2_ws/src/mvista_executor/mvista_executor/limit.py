"""Stage 4b: the limits, twice. The whole curve before anything moves, every set-point as it goes.

Neither clamps. A curve that passes a limit is refused; a set-point that would is not sent, and the
stream stops into a hold.
"""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ExecutionError, TrajectoryError
from mvista_core.records import Float64
from mvista_core.timing import ns_to_seconds
from mvista_executor.retime import TimedCurve

_RELATIVE = 1e-6
_ROUNDING = 1e-9
_SAMPLE_S = 0.001


def verify(follow: TimedCurve, arm: ArmModel) -> None:
    """Sample the timed curve every millisecond against the arm's limits.

    Raises:
        TrajectoryError: `POSITION_LIMIT`, `VELOCITY_LIMIT` or `ACCELERATION_LIMIT`.
    """
    times_s = np.linspace(0.0, follow.duration_s, int(follow.duration_s / _SAMPLE_S) + 2)
    state = follow.sampled(times_s)
    middle, half = 0.5 * (arm.upper + arm.lower), 0.5 * (arm.upper - arm.lower)
    for reason, what, value, allowed in (
        (TrajectoryError.POSITION_LIMIT, "from mid-range", state.positions - middle, half),
        (TrajectoryError.VELOCITY_LIMIT, "per s", state.velocities, arm.max_velocity),
        (TrajectoryError.ACCELERATION_LIMIT, "per s2", state.accelerations, arm.max_acceleration),
    ):
        over = np.argwhere(np.abs(value) > allowed * (1.0 + _RELATIVE) + _ROUNDING)
        if len(over):
            at, joint = over[0]
            raise TrajectoryError(
                reason,
                f"{times_s[at]:.3f} s into the curve {arm.joint_names[joint]} would be at "
                f"{value[at, joint]:.4f} {what}, at most {allowed[joint]:.4f} allowed",
            )


class SendGate:
    """Judges each set-point against the limits from the two sent before it.

    Velocity is the first and acceleration the second divided difference of what is sent, over the
    real times between sending: for a C1 curve both are means of the true ones, so a curve within
    the limits always passes, however unevenly it is sampled.
    """

    def __init__(self, arm: ArmModel, period_s: float) -> None:
        self._arm = arm
        self._period_s = period_s
        self._time_ns = 0
        self._positions: Float64 | None = None
        self._velocity = np.zeros(len(arm.joint_names))
        self._step_s = period_s

    def restart(self) -> None:
        """Forget what was sent: the next set-point is taken as sent from rest."""
        self._positions = None

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
            self._velocity = np.zeros_like(positions)
            self._step_s = self._period_s
        else:
            step_s = ns_to_seconds(time_ns - self._time_ns)
            if step_s <= 0.0:
                self._refuse(
                    positions != self._positions, "a second set-point", positions, positions
                )
                return
            velocity = (positions - self._positions) / step_s
            acceleration = 2.0 * (velocity - self._velocity) / (step_s + self._step_s)
            noise = 1e-14 / min(step_s, self._step_s)
            fast = np.abs(velocity) > arm.max_velocity * (1 + _RELATIVE) + noise
            self._refuse(fast, "velocity", velocity, arm.max_velocity)
            hard = np.abs(acceleration) > arm.max_acceleration * (1 + _RELATIVE) + noise / step_s
            self._refuse(hard, "acceleration", acceleration, arm.max_acceleration)
            self._velocity, self._step_s = velocity, step_s
        self._time_ns, self._positions = time_ns, positions

    def _refuse(self, bad: np.ndarray, what: str, values: Float64, allowed: Float64) -> None:
        for joint in np.flatnonzero(bad):
            raise ExecutionError(
                f"not sent: {what} of {self._arm.joint_names[joint]} would be "
                f"{values[joint]:.4f}, allowed {allowed[joint]:.4f}; the arm holds"
            )
