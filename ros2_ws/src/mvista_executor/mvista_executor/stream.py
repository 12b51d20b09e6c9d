"""Stage 5: the stream. Each tick takes the newest feedback and gives the set-point to send."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    BusyError,
    CancelledError,
    ExecutionError,
    MvistaError,
    ObservationError,
    PreemptedError,
    StaleFeedbackError,
    TrajectoryError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.ports import Clock
from mvista_core.records import ActionTrajectory, JointCommand, JointState
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_executor.feedback import FeedbackWatch
from mvista_executor.limit import SendGate
from mvista_executor.motion import Hold, Motion, MotionState, Why
from mvista_executor.moves import Move, stop
from mvista_executor.plan import ExecutionPlan
from mvista_executor.report import ExecutionReport, Recording, Status, Tick, Tolerances
from mvista_executor.successor import Standing, Successor, check_unmoved, make_successor
from mvista_executor.tracking import Tracking


class ExecutionStream:
    """One trajectory at a time, as a stream of set-points: check, approach, run, hold.

    A second one takes over from a running one without a step in position, velocity or
    acceleration; where it cannot, after a smooth stop.

    Not thread-safe: all calls belong to one thread or under one lock; `make_successor` needs
    neither. Call `tick` at `rate_hz`; uneven ticks sample the same curve. After a gap longer than
    `stall_after_s` the arm has stopped at the last set-point by itself: the curve goes on from
    rest there, once feedback is fresh.
    """

    def __init__(self, arm: ArmModel, settings: ExecutorSettings, clock: Clock) -> None:
        self._arm = arm
        self._settings = settings
        self._clock = clock
        self._watch = FeedbackWatch(clock, settings.stale_after_s)
        self._gate = SendGate(arm, settings.period_s)
        self._tracking = Tracking(arm, settings)
        self._still = np.zeros(len(arm.joint_names))
        self._tolerances = Tolerances.default(arm, settings)
        self._status = Status.IDLE
        self._error: MvistaError | None = None
        self._asked_to_stop: MvistaError | None = None
        self._plan: ExecutionPlan | None = None
        self._next: Successor | None = None
        self._begin_ns = 0
        self._paused_ns: int | None = None
        self._resume_s: float | None = None
        self._progress = 0.0
        self._motion: Motion | None = None
        self._motion_start_ns = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._last: MotionState | None = None
        self._recording: Recording | None = None

    @property
    def status(self) -> Status:
        """Where the stream is after the last tick."""
        return self._status

    def start(
        self,
        trajectory: ActionTrajectory,
        measured: JointState | None,
        tolerances: Tolerances | None = None,
    ) -> ExecutionPlan:
        """Check a trajectory and begin, or go over to it from the one that runs.

        From rest the next tick sends the pose that the arm holds.

        Raises:
            BusyError: the arm is being stopped. It goes on stopping.
            StaleFeedbackError, ArmNotReadyError, ObservationError: the arm cannot start.
            TrajectoryError: refused whole, with a numbered reason; what runs goes on.
        """
        standing = self.standing(measured)
        successor = make_successor(trajectory, standing, self._arm, self._settings, tolerances)
        self.take_over(successor, measured)
        return successor.plan

    def standing(
        self, measured: JointState | None, ahead_s: float = 0.0, delay_s: float = 0.0
    ) -> Standing:
        """Where a successor would begin: `delay_s` from now, from a motion `ahead_s` at least.

        Raises:
            BusyError, StaleFeedbackError, ObservationError: see `start`.
        """
        fresh = self._watch.fresh(measured)
        fresh.ordered(self._arm.joint_names)
        now_ns = self._clock.monotonic_ns()
        if self._status.final:
            at_ns = now_ns + seconds_to_ns(delay_s)
            held = None if self._last is None else self._last.positions
            return Standing(at_ns, None, None, held, fresh)
        if self._status is Status.STOPPING or self._paused_ns is not None or self._last is None:
            raise BusyError(
                f"the arm is {self._status.value}; a trajectory is taken at rest or on the way"
            )
        assert self._motion is not None
        at_ns = now_ns + seconds_to_ns(max(ahead_s, delay_s))
        state = self._motion.at(ns_to_seconds(at_ns - self._motion_start_ns))
        return Standing(at_ns, self._motion, state, None, fresh)

    def take_over(self, successor: Successor, measured: JointState | None) -> Recording | None:
        """Begin a successor: at once from rest, else at the time that its plan was made for.

        Returns the recording of the trajectory that it replaces, which ends here.

        Raises:
            BusyError: it was made for a motion, or a time, that is past; make it anew.
            StaleFeedbackError, ArmNotReadyError: the arm cannot start, or was moved meanwhile.
        """
        standing = successor.standing
        now_ns = self._clock.monotonic_ns()
        replaced: Recording | None = None
        if standing.motion is None:
            if not self._status.final:
                raise BusyError("another trajectory was started meanwhile")
            fresh = self._watch.fresh(measured)
            check_unmoved(standing, fresh, self._arm, self._settings)
            self._begin_at_rest(successor, now_ns)
        else:
            paused = self._paused_ns is not None
            # By identity: whatever ended that motion put another in its place.
            if standing.motion is not self._motion or paused or standing.at_ns < now_ns:
                raise BusyError("the motion that it was planned from is past; plan it again")
            if not self._status.final:
                replaced = self._recording
                assert replaced is not None
                replaced.status = Status.ABORTED
                replaced.error = PreemptedError("a newer trajectory took over; the arm follows it")
            self._next, self._status = successor, Status.RUNNING
        self._recording = Recording(successor.plan, self._arm.joint_names)
        self._begin_ns = standing.at_ns
        self._error = self._asked_to_stop = None
        self._progress, self._first_ns = 0.0, None
        return replaced

    def _begin_at_rest(self, successor: Successor, now_ns: int) -> None:
        """Rest at the plan's start; the next tick with fresh feedback begins."""
        plan = successor.plan
        if self._last is None or not np.array_equal(self._last.positions, plan.start.positions):
            self._gate.restart()
            self._last = None
        self._plan, self._next, self._tolerances = plan, None, successor.tolerances
        # Making the plan took time: it waits, like after a stall, until feedback is fresh again.
        self._motion, self._resume_s = Hold(plan.start.positions), None
        self._motion_start_ns = self._last_ns = now_ns
        self._paused_ns = now_ns
        self._tracking.begin(plan.start.positions)
        self._status = Status.APPROACHING if plan.approach_s else Status.RUNNING

    def cancel(self, reason: MvistaError | None = None) -> None:
        """Ask for a smooth stop into a hold; from the next tick. Nothing moving: no effect."""
        if not self._status.final and self._asked_to_stop is None:
            self._asked_to_stop = reason or CancelledError("cancelled; the arm holds")

    def let_go(self) -> None:
        """Forget the hold once nothing moves: no set-point more, and the next goal begins where
        the arm is measured then."""
        if self._status.final:
            self._status, self._motion, self._last = Status.IDLE, None, None
            self._gate.restart()

    def tick(self, measured: JointState | None) -> Tick:
        """The set-point for now. Call it after the end too: the hold is sent as well."""
        if self._recording is None or self._motion is None:
            return Tick(Status.IDLE, None, 0.0, None, None)
        now_ns = self._clock.monotonic_ns()
        if self._status.final and isinstance(self._motion, Hold):
            return self._hold(self._motion, measured, now_ns)
        if self._first_ns is None:
            self._first_ns = now_ns
        was_final = self._status.final
        # Judged before it sends: what is found wrong now is braked for in this very tick.
        self._notice_stall(now_ns)
        fresh = self._feedback(measured, now_ns)
        self._judge(fresh, now_ns)
        state = self._send(now_ns)
        # Before the status goes on: this set-point's reason, not the next one's.
        why = self._why(now_ns)
        self._advance(fresh, now_ns)
        names, stamp_ns = self._arm.joint_names, self._clock.now_ns()
        command = JointCommand(names, state.positions, state.velocities, stamp_ns)
        actual = None if fresh is None else fresh.ordered(names)
        if self._status.final:
            self._motion = Hold(state.positions)
        if not was_final:
            self._recording.note(ns_to_seconds(now_ns - self._first_ns), command, actual)
            self._recording.status, self._recording.error = self._status, self._error
        error = None if actual is None else actual - state.positions
        return Tick(self._status, command, self._progress, error, self._error, why)

    def _hold(self, motion: Hold, measured: JointState | None, now_ns: int) -> Tick:
        """At rest after the end: the same set-point, until a successor begins."""
        if measured is not None:
            self._watch.see(measured)
        self._gate.rest(now_ns)
        self._last_ns = now_ns
        command = JointCommand(
            self._arm.joint_names, motion.positions, self._still, self._clock.now_ns()
        )
        return Tick(self._status, command, self._progress, None, self._error, (Why.HOLD,))

    def report(self) -> ExecutionReport:
        """What has been sent and measured since `start`.

        Raises:
            ExecutionError: nothing was started.
        """
        return self.recording.report()

    @property
    def recording(self) -> Recording:
        """Of the trajectory that runs, or ran last.

        Raises:
            ExecutionError: nothing was started.
        """
        if self._recording is None:
            raise ExecutionError("nothing was executed yet")
        return self._recording

    def _notice_stall(self, now_ns: int) -> None:
        """After a gap: hold where the last set-point was, and go on from there or give up."""
        if self._last is None or self._status in (Status.HOLDING, Status.DONE, Status.ABORTED):
            return
        gap_s = ns_to_seconds(now_ns - self._last_ns)
        if gap_s <= self._settings.stall_after_s:
            return
        # An interrupted stop is not taken up again: the arm stands already.
        if self._status is Status.STOPPING or gap_s > self._settings.give_up_after_s:
            error = ExecutionError(
                f"no set-point went out for {gap_s:.3f} s, at most "
                f"{self._settings.give_up_after_s} s allowed; the machine is overloaded or was "
                "suspended; the arm holds"
            )
            self._halt(error, now_ns)
        elif self._paused_ns is None:
            # From the last set-point's place on the curve, where the arm stands, not from now's.
            self._resume_s = ns_to_seconds(self._last_ns - self._motion_start_ns)
            if self._next is not None:
                # The motion that it was to take over from has stopped: its plan begins from rest.
                self._go_over(self._next)
            self._rest_at_last(now_ns)
            self._paused_ns = now_ns
            self.recording.pauses += 1

    def _feedback(self, measured: JointState | None, now_ns: int) -> JointState | None:
        """The measured joints when they may be trusted; when not, a stop is asked for.

        While paused this process's own feedback may be old too: it has `stale_after_s` to arrive.
        """
        try:
            fresh = self._watch.fresh(measured)
            fresh.ordered(self._arm.joint_names)
            return fresh
        except (StaleFeedbackError, ObservationError) as error:
            paused_ns = self._paused_ns
            waited_s = 0.0 if paused_ns is None else ns_to_seconds(now_ns - paused_ns)
            if paused_ns is None or waited_s > self._settings.stale_after_s:
                self.cancel(error)
            return None

    def _judge(self, fresh: JointState | None, now_ns: int) -> None:
        """Begin a stop where there is reason for one; go on after a pause; go over to the next."""
        if self._status.final or self._status is Status.STOPPING:
            return
        if self._asked_to_stop is None and fresh is not None:
            if self._paused_ns is not None and now_ns >= self._begin_ns:
                self._go_on(now_ns)
            elif self._next is not None and now_ns >= self._next.standing.at_ns:
                self._go_over(self._next)
        if self._asked_to_stop is None and fresh is not None and self._last is not None:
            self._asked_to_stop = self._tracking.strayed(fresh, self._last, self._tolerances)
        if self._asked_to_stop is not None:
            self._begin_stop(self._asked_to_stop, now_ns)

    def _go_on(self, now_ns: int) -> None:
        assert self._plan is not None
        self._paused_ns = None
        if self._resume_s is not None and self._last is not None:
            try:
                here = self._last.positions
                self._plan = self._plan.resumed(self._resume_s, here, self._settings)
            except TrajectoryError as error:
                self.cancel(error)
                return
        self._motion, self._motion_start_ns = self._plan, now_ns

    def _go_over(self, successor: Successor) -> None:
        """The successor's plan, in the state that the running one has at the same instant."""
        self._motion = self._plan = successor.plan
        self._motion_start_ns, self._next = successor.standing.at_ns, None
        self._tolerances, self._resume_s = successor.tolerances, 0.0

    def _begin_stop(self, error: MvistaError, now_ns: int) -> None:
        assert self._plan is not None
        self._error, self._status, self._next = error, Status.STOPPING, None
        if self._last is None:
            self._motion, self._motion_start_ns = Hold(self._plan.start.positions), now_ns
        else:
            # From the time of the last set-point: the stop joins what was sent.
            self._motion, self._motion_start_ns = stop(self._last, self._arm), self._last_ns

    def _halt(self, error: MvistaError, now_ns: int) -> None:
        """Hold at once where the last set-point was."""
        self._error = self._error or error
        self._status, self._next = Status.ABORTED, None
        self._rest_at_last(now_ns)

    def _rest_at_last(self, now_ns: int) -> None:
        assert self._last is not None
        self._motion, self._motion_start_ns = Hold(self._last.positions), now_ns
        self._last = self._motion.at(0.0)
        self._gate.restart()

    def _send(self, now_ns: int) -> MotionState:
        """The motion's state for now if the gate admits it, else one of a stop."""
        assert self._motion is not None
        state = self._motion.at(ns_to_seconds(now_ns - self._motion_start_ns))
        try:
            self._gate.admit(now_ns, state.positions)
        except ExecutionError as error:
            if self._last is None:
                raise
            if self._status.final or self._status is Status.STOPPING:
                self._halt(error, now_ns)
            else:
                self._begin_stop(error, now_ns)
            # A refused motion becomes a stop, a refused stop a hold, and a hold passes: this ends.
            return self._send(now_ns)
        self._last, self._last_ns = state, now_ns
        return state

    def _why(self, now_ns: int) -> tuple[Why, ...]:
        """How the set-point for now differs from what was asked."""
        if self._paused_ns is not None and not self._status.final:
            return (Why.WAIT if self._resume_s is None else Why.PAUSED,)
        elapsed_s = ns_to_seconds(now_ns - self._motion_start_ns)
        if isinstance(self._motion, ExecutionPlan):
            return self._motion.why(elapsed_s)
        if isinstance(self._motion, Move) and elapsed_s < self._motion.duration_s:
            return (self._motion.why,)
        return (Why.HOLD,)

    def _advance(self, fresh: JointState | None, now_ns: int) -> None:
        """The status after this tick's set-point."""
        assert self._plan is not None and self._motion is not None
        elapsed_s = ns_to_seconds(now_ns - self._motion_start_ns)
        if self._status is Status.STOPPING:
            if elapsed_s >= self._motion.duration_s:
                self._status = Status.ABORTED
        # The end of a plan that is about to be left is not this goal's end.
        elif self._paused_ns is not None or self._next is not None:
            return
        elif self._status is Status.HOLDING:
            self._settle(fresh, elapsed_s - self._plan.duration_s, now_ns)
        elif not self._status.final:
            self._count_progress(self._plan.duration_s - elapsed_s)
            if elapsed_s >= self._plan.duration_s:
                self._status = Status.HOLDING
            elif elapsed_s >= self._plan.lead_in_s or not self._plan.approach_s:
                self._status = Status.RUNNING
            else:
                self._status = Status.APPROACHING

    def _count_progress(self, left_s: float) -> None:
        total_s = max(self.recording.plan.duration_s, self._settings.period_s)
        # A pause makes what is left longer; progress does not go back.
        self._progress = float(np.clip(1.0 - left_s / total_s, self._progress, 1.0))

    def _settle(self, fresh: JointState | None, waited_s: float, now_ns: int) -> None:
        """DONE once the arm rests at the last point; ABORTED when it takes too long."""
        assert self._plan is not None
        if fresh is None:
            return
        allowed = self._tolerances
        over_s = waited_s - allowed.goal_time_s
        if allowed.end_by_s is not None:
            over_s = ns_to_seconds(now_ns - self._begin_ns) - allowed.end_by_s
        not_there = self._tracking.not_there(fresh, self._plan.end, allowed, over_s > 0.0)
        if not_there is None:
            self._status = Status.DONE
        elif over_s > 0.0:
            self._error, self._status = not_there, Status.ABORTED
