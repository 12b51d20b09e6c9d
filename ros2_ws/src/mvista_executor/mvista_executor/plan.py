"""Stages 1 to 4 put together: a checked, spliced, interpolated and timed execution plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import GRIPPER, ExecutorSettings
from mvista_core.records import ActionTrajectory, Float64
from mvista_executor.check import check_size, check_start, named_joints, ordered_points
from mvista_executor.limit import pieces, verify
from mvista_executor.motion import MotionState, Why
from mvista_executor.moves import Move, approach, needs_approach, splice, stop
from mvista_executor.retime import TimedCurve, joined, resumed, timed
from mvista_executor.smooth import fitted_curve
from mvista_executor.workspace import SAMPLE_S, Workspace

_LEADS = 5
_JOINS_S = 2.0
_JOIN_STEP_S = 1.0 / 15.0
_STATED_RAD = 1e-6


@dataclass(frozen=True)
class ExecutionPlan:
    """What will be sent, whole, before anything is sent: the moves that lead in, then the curve.

    `start` is the state it begins in; `end` [J] the pose it ends in, at rest. `lead_s` is time
    added before the first point so that a small gap to the start is crossed within the limits;
    `off_points` [J] how far the curve leaves the points at most; `asked_s` the trajectory's own
    duration.
    """

    start: MotionState
    end: Float64
    lead_in: tuple[Move, ...]
    follow: TimedCurve | None
    lead_s: float
    arm: ArmModel
    off_points: Float64
    asked_s: float

    @cached_property
    def lead_in_s(self) -> float:
        """Seconds of moves before the curve itself begins."""
        return sum(move.duration_s for move in self.lead_in)

    @property
    def approach_s(self) -> float:
        """Seconds of slow approach before the trajectory itself begins."""
        return sum(move.duration_s for move in self.lead_in if move.why is Why.APPROACH)

    @property
    def stretch(self) -> float:
        """Uniform time factor, >= 1."""
        return self.follow.law.stretch if self.follow else 1.0

    @cached_property
    def duration_s(self) -> float:
        """Seconds from the first command until the last point is commanded, at rest."""
        return self.lead_in_s + (self.follow.duration_s if self.follow else 0.0)

    @property
    def off_points_rad(self) -> float:
        """How far the curve leaves the points of a revolute joint at most."""
        return float(self.off_points[[n != GRIPPER for n in self.arm.joint_names]].max())

    def resumed(self, time_s: float, here: Float64, settings: ExecutorSettings) -> ExecutionPlan:
        """What is left at `time_s`, begun again from rest at `here` [J].

        Raises:
            TrajectoryError: `WORKSPACE`, the way there leaves the box.
        """
        plan = self._begun_again(time_s, here, settings)
        # The curve itself was looked at before it began.
        _check_workspace(plan, settings, plan.lead_in_s)
        return plan

    def _begun_again(
        self, time_s: float, here: Float64, settings: ExecutorSettings
    ) -> ExecutionPlan:
        begun = replace(self, start=MotionState.rest(here), lead_in=())
        if self.follow is not None and time_s < self.duration_s:
            law = self.follow.law
            place_s = law.begin_s
            if time_s > self.lead_in_s:
                place, _, _ = law.at(np.array([time_s - self.lead_in_s]))
                place_s = float(place[0])
            follow = resumed(self.follow, place_s, self.arm)
            if follow is not None:
                # What was left of the lead-in's time is kept, so that no point is early.
                lead_in = self._lead_to(follow, here, self.lead_in_s - time_s, settings)
                return replace(begun, lead_in=lead_in, follow=follow)
        move = approach(here, self.end, self.duration_s - time_s, self.arm, settings)
        return replace(begun, lead_in=(move,), follow=None)

    def at(self, time_s: float) -> MotionState:
        """State [J] at `time_s` after the first command; at rest at the end afterwards."""
        if time_s >= self.duration_s:
            return MotionState.rest(self.end)
        for move in self.lead_in:
            if time_s < move.duration_s:
                return move.at(time_s)
            time_s -= move.duration_s
        if self.follow is None:
            return MotionState.rest(self.end)
        state = self.follow.at(time_s)
        # Takes off rounding only: `verify` has refused anything beyond it.
        inside = np.minimum(np.maximum(state.positions, self.arm.lower), self.arm.upper)
        return MotionState(inside, state.velocities, state.accelerations)

    def why(self, time_s: float) -> tuple[Why, ...]:
        """How the set-point at `time_s` differs from what was asked."""
        if time_s >= self.duration_s:
            return (Why.HOLD,)
        for move in self.lead_in:
            if time_s < move.duration_s:
                return (move.why,)
            time_s -= move.duration_s
        return self.why_follow

    @cached_property
    def why_follow(self) -> tuple[Why, ...]:
        """How what is sent on the curve differs from what was asked."""
        differences = (
            (Why.RETIMED, self.stretch > 1.0),
            (Why.SMOOTHED, bool((self.off_points > _STATED_RAD).any())),
            (Why.DELAYED, self.lead_s > 0.0),
        )
        return tuple(why for why, applies in differences if applies) or (Why.EXACT,)

    def _lead_to(
        self, follow: TimedCurve, here: Float64, seconds: float, settings: ExecutorSettings
    ) -> tuple[Move, ...]:
        """From rest `here`, in `seconds` or later, to a curve, unless it begins just there."""
        target = follow.at(0.0).positions
        if np.abs(target - here).max() < 1e-9:
            return ()
        return (approach(here, target, seconds, self.arm, settings),)


def prepare(
    trajectory: ActionTrajectory, start: MotionState, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    """Check a trajectory and make the plan that carries it out from a state, at rest or moving.

    A joint that it does not name stays at its set-point; one that moves comes to rest first.

    Raises:
        TrajectoryError: refused whole, with a numbered reason.
    """
    times_s = trajectory.times_s
    check_size(len(times_s), float(times_s[-1]) if len(times_s) else 0.0, settings)
    named = named_joints(trajectory.joint_names, arm)
    resting = _resting(start, named, arm, settings)
    points, times_s = ordered_points(trajectory, arm, resting)
    # One not named is compared with where it will rest: the way there is a stop, not a gap.
    check_start(points, np.where(named, start.positions, resting), arm, settings)
    if _moves(start):
        plan = _from_motion(start, points, times_s, named, arm, settings)
    else:
        plan = _from_rest(start.positions, points, times_s, arm, settings)
    if plan.follow is not None:
        verify(plan.follow, arm)
    _check_workspace(plan, settings, plan.duration_s)
    return plan


def _moves(state: MotionState) -> bool:
    return bool(state.velocities.any() or state.accelerations.any())


def _resting(
    start: MotionState, named: NDArray[np.bool_], arm: ArmModel, settings: ExecutorSettings
) -> Float64:
    """Where joints that are not named [J] stay: where they are, or come to rest soonest."""
    if named.all() or not _moves(start):
        return start.positions
    # At the share of the limits that a splice has, which must be able to end there.
    return stop(start, arm, settings.limit_fraction).end.positions


def _from_rest(
    start: Float64, points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    if needs_approach(start, points[0], arm, settings):
        return _approached(start, points, times_s, arm, settings)
    return _spliced(start, points, times_s, arm, settings)


def _approached(
    start: Float64, points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    """Slowly to the first point, not before it is due, then the curve from there."""
    move = approach(start, points[0], float(times_s[0]), arm, settings)
    follow = None
    if len(points) > 1:
        follow = timed(fitted_curve(points, times_s, arm, settings), arm, settings)
    off, asked_s = _off(follow, points, times_s), float(times_s[-1])
    return ExecutionPlan(
        MotionState.rest(start), points[-1], (move,), follow, 0.0, arm, off, asked_s
    )


def _spliced(
    start: Float64, points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan:
    """The start as the curve's point at time 0, with a lead only if it makes it faster."""
    plans: list[ExecutionPlan] = []
    refusal: TrajectoryError | None = None
    rest, asked_s = MotionState.rest(start), float(times_s[-1])
    # Stretch is uniform: a gap too fast to cross would slow the whole curve, a lead only the gap.
    longest_s = _crossing_s(points[0] - start, arm, settings)
    for lead_s in np.linspace(0.0, longest_s, _LEADS):
        knots = np.vstack([start, points])
        knot_times_s = np.concatenate([[0.0], times_s + lead_s])
        try:
            follow = timed(fitted_curve(knots, knot_times_s, arm, settings), arm, settings)
        except TrajectoryError as error:
            # The first is the one without a lead: it speaks of the goal as it was asked.
            refusal = refusal or error
            continue
        off = _off(follow, knots, knot_times_s)
        plans.append(ExecutionPlan(rest, points[-1], (), follow, float(lead_s), arm, off, asked_s))
        if follow.law.stretch == 1.0 or longest_s == 0.0:
            break
    if not plans:
        assert refusal is not None
        raise refusal
    return min(plans, key=lambda plan: plan.duration_s)


def _from_motion(
    start: MotionState,
    points: Float64,
    times_s: Float64,
    named: NDArray[np.bool_],
    arm: ArmModel,
    settings: ExecutorSettings,
) -> ExecutionPlan:
    """Onto the new curve with its velocity and acceleration; where none fits, after a stop."""
    here = np.where(named, start.positions, points[0])
    near = not needs_approach(here, points[0], arm, settings)
    if near and len(points) > 1:
        plan = _joining(start, points, times_s, arm, settings)
        if plan is not None:
            return plan
    if near and len(points) == 1:
        move = splice(start, MotionState.rest(points[0]), float(times_s[0]), arm, settings)
        if move is not None:
            none = np.zeros_like(points[0])
            return ExecutionPlan(start, points[0], (move,), None, 0.0, arm, none, float(times_s[0]))
    halt = stop(start, arm)
    # This stop leaves joints that are not named elsewhere than the splice would have.
    points = np.where(named, points, halt.end.positions)
    plan = _from_rest(halt.end.positions, points, times_s, arm, settings)
    return replace(plan, start=start, lead_in=(halt, *plan.lead_in))


def _joining(
    start: MotionState, points: Float64, times_s: Float64, arm: ArmModel, settings: ExecutorSettings
) -> ExecutionPlan | None:
    """The splice that joins the curve first without delay, else the least delayed; or None."""
    follow = timed(fitted_curve(points, times_s, arm, settings), arm, settings)
    off, asked_s = _off(follow, points, times_s), float(times_s[-1])
    stretch = follow.law.stretch
    found: list[tuple[float, ExecutionPlan]] = []
    last_s = min(times_s[0] + _JOINS_S, times_s[-1])
    for place_s in np.arange(times_s[0], last_s, _JOIN_STEP_S):
        rest_of = joined(follow, float(place_s))
        if rest_of is None:
            break
        # When the slowed curve itself would be there.
        due_s = float(times_s[0] + (place_s - times_s[0]) * stretch)
        move = splice(start, rest_of.at(0.0), due_s, arm, settings)
        if move is None:
            continue
        late_s = max(move.duration_s - due_s, 0.0)
        late_s = late_s if late_s > 1e-6 else 0.0
        plan = ExecutionPlan(start, points[-1], (move,), rest_of, late_s, arm, off, asked_s)
        if late_s == 0.0:
            return plan
        found.append((late_s, plan))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _check_workspace(plan: ExecutionPlan, settings: ExecutorSettings, until_s: float) -> None:
    workspace, allowed_m = Workspace(plan.arm, settings), np.inf
    for times_s in pieces(until_s, SAMPLE_S):
        allowed_m = workspace.check(_path(plan, times_s), times_s, allowed_m)


def _path(plan: ExecutionPlan, times_s: Float64) -> Float64:
    """Positions [N, J] at times_s [N]."""
    lead_in = times_s < plan.lead_in_s
    path = [plan.at(float(time_s)).positions[None] for time_s in times_s[lead_in]]
    after_s = times_s[~lead_in] - plan.lead_in_s
    if plan.follow is not None:
        path.append(plan.follow.sampled(after_s).positions)
    else:
        path.append(np.tile(plan.end, (len(after_s), 1)))
    return np.concatenate(path)


def _crossing_s(gap: Float64, arm: ArmModel, settings: ExecutorSettings) -> float:
    """Twice the seconds that crossing a gap [J] takes at the arm's acceleration and jerk."""
    # From rest to rest over d takes 2 sqrt(d/a) and 3.2 cbrt(d/j) at least.
    by_acceleration = np.sqrt(np.abs(gap) / (settings.limit_fraction * arm.max_acceleration))
    by_jerk = np.cbrt(np.abs(gap) / (settings.limit_fraction * arm.max_jerk))
    return float(4.0 * np.maximum(by_acceleration, by_jerk).max())


def _off(follow: TimedCurve | None, points: Float64, times_s: Float64) -> Float64:
    """How far the curve passes from the points at most, [J]."""
    if follow is None:
        return np.zeros(points.shape[1])
    return np.asarray(np.abs(follow.curve(times_s) - points).max(axis=0))
