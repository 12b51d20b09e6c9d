"""Stages 1 to 4 put together: a checked, spliced, interpolated and timed execution plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.records import ActionTrajectory, Float64, JointState
from mvista_executor.approach import Approach, approach, needs_approach
from mvista_executor.check import check_start, ordered_points, start_pose
from mvista_executor.limit import verify
from mvista_executor.motion import MotionState
from mvista_executor.retime import TimedCurve, resumed, timed
from mvista_executor.settings import ExecutorSettings
from mvista_executor.smooth import fitted_curve

_LEADS = 5


@dataclass(frozen=True)
class ExecutionPlan:
    """What will be sent, whole, before anything is sent: an approach, then the curve.

    `stretch` is the uniform factor the trajectory is slowed by (1 = its own timing); `lead_s` the
    time added before its first point so that a small gap to the measured pose is crossed within
    the limits; `off_points` [J] how far smoothing leaves the points at most. `start` and `end` [J]
    are the poses it begins and ends in, at rest.
    """

    start: Float64
    end: Float64
    approach: Approach | None
    follow: TimedCurve | None
    lead_s: float
    arm: ArmModel
    off_points: Float64

    @property
    def approach_s(self) -> float:
        """Seconds of slow approach before the trajectory itself begins."""
        return self.approach.duration_s if self.approach else 0.0

    @property
    def stretch(self) -> float:
        """Uniform time factor, >= 1."""
        return self.follow.law.stretch if self.follow else 1.0

    @property
    def duration_s(self) -> float:
        """Seconds from the first command until the last point is commanded, at rest."""
        return self.approach_s + (self.follow.duration_s if self.follow else 0.0)

    def resumed(self, time_s: float, settings: ExecutorSettings) -> ExecutionPlan:
        """What is left at `time_s`, begun again from rest there."""
        here = self.at(time_s).positions
        if self.approach and time_s < self.approach_s:
            move = approach(here, self.approach.target, self.arm, settings)
            return replace(self, start=here, approach=move)
        if self.follow is not None and time_s < self.duration_s:
            place, _, _ = self.follow.law.at(np.array([time_s - self.approach_s]))
            follow = resumed(self.follow, float(place[0]), self.arm)
            if follow is not None:
                return replace(self, start=here, approach=None, follow=follow)
        move = approach(here, self.end, self.arm, settings)
        return replace(self, start=here, approach=move, follow=None)

    def at(self, time_s: float) -> MotionState:
        """State [J] at `time_s` after the first command; at rest at the end afterwards."""
        if time_s >= self.duration_s:
            rest = np.zeros_like(self.end)
            return MotionState(self.end, rest, rest)
        if self.approach and (self.follow is None or time_s < self.approach_s):
            return self.approach.at(time_s)
        assert self.follow is not None
        state = self.follow.at(time_s - self.approach_s)
        # Takes off rounding only: `verify` has refused anything beyond it.
        inside = np.clip(state.positions, self.arm.lower, self.arm.upper)
        return MotionState(inside, state.velocities, state.accelerations)


def prepare(
    trajectory: ActionTrajectory, measured: JointState, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    """Check a trajectory and make the plan that carries it out from the measured pose.

    Raises:
        TrajectoryError: refused whole, with a numbered reason.
        ArmNotReadyError, ObservationError: the arm cannot start from where it is.
    """
    points, times_s = ordered_points(trajectory, arm)
    start = start_pose(measured, arm, settings)
    check_start(points, start, arm, settings)
    if needs_approach(start, points[0], arm, settings):
        plan = _approached(start, points, times_s, arm, settings)
    else:
        plan = _spliced(start, points, times_s, arm, settings)
    if plan.follow is not None:
        verify(plan.follow, arm)
    return plan


def _approached(
    start: Float64, points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    """Slowly to the first point, then the curve from there."""
    move = approach(start, points[0], arm, settings)
    follow = None
    if len(points) > 1:
        follow = timed(fitted_curve(points, times_s, arm, settings), arm, settings)
    return ExecutionPlan(start, points[-1], move, follow, 0.0, arm, _off(follow, points, times_s))


def _spliced(
    start: Float64, points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    """The measured pose as the curve's point at time 0, with a lead only if it makes it faster."""
    plans: list[ExecutionPlan] = []
    refusal: TrajectoryError | None = None
    longest_s = _crossing_s(points[0] - start, arm, settings)
    for lead_s in np.linspace(0.0, longest_s, _LEADS):
        knots = np.vstack([start, points])
        knot_times_s = np.concatenate([[0.0], times_s + lead_s])
        try:
            follow = timed(fitted_curve(knots, knot_times_s, arm, settings), arm, settings)
        except TrajectoryError as error:
            refusal = refusal or error
            continue
        off = _off(follow, knots, knot_times_s)
        plans.append(ExecutionPlan(start, points[-1], None, follow, float(lead_s), arm, off))
        if follow.law.stretch == 1.0:
            break
    if not plans:
        assert refusal is not None
        raise refusal
    return min(plans, key=lambda plan: plan.duration_s)


def _crossing_s(gap: Float64, arm: ArmModel, settings: ExecutorSettings) -> float:
    """Twice the seconds that crossing a gap [J] takes bang-bang at the arm's acceleration."""
    acceleration = settings.limit_fraction * arm.max_acceleration
    return float(4.0 * np.sqrt(np.abs(gap) / acceleration).max())


def _off(follow: TimedCurve | None, points: Float64, times_s: Float64) -> Float64:
    """How far the curve passes from the points at most, [J]."""
    if follow is None:
        return np.zeros(points.shape[1])
    return np.asarray(np.abs(follow.curve(times_s) - points).max(axis=0))
