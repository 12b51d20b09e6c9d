"""Stage 5: the stream. Each tick takes the newest feedback and gives the set-point to send."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    BusyError,
    CancelledError,
    ExecutionError,
    GoalToleranceError,
    MvistaError,
    ObservationError,
    PathToleranceError,
    StaleFeedbackError,
)
from mvista_core.ports import Clock
from mvista_core.records import ActionTrajectory, Float64, JointCommand, JointState
from mvista_core.timing import ns_to_seconds
from mvista_executor.check import ordered_points
from mvista_executor.feedback import FeedbackWatch
from mvista_executor.limit import SendGate
from mvista_executor.motion import Motion, MotionState
from mvista_executor.plan import ExecutionPlan, prepare
from mvista_executor.report import ExecutionReport, Status, Tick, Tolerances
from mvista_executor.settings import ExecutorSettings, per_joint
from mvista_executor.stop import brake, hold


class ExecutionStream:
    """One trajectory at a time, as a stream of set-points: check, approach, run, hold.

    Not thread-safe: `start`, `cancel` and `tick` belong to one thread. Call `tick` at `rate_hz`;
    uneven ticks sample the same curve. After a gap longer than `stall_after_s` the arm has stopped
    at the last set-point by itself: the curve goes on from rest there, once feedback is fresh.
    """

    def __init__(self, arm: ArmModel, settings: ExecutorSettings, clock: Clock) -> None:
        self._arm = arm
        self._settings = settings
        self._clock = clock
        self._watch = FeedbackWatch(clock, settings.stale_after_s)
        self._gate = SendGate(arm, settings.period_s)
        self._rest = per_joint(arm, settings.rest_speed_rad_s, settings.rest_speed_m_s)
        self._tolerances = Tolerances.default(arm, settings)
        self._status = Status.IDLE
        self._error: MvistaError | None = None
        self._asked_to_stop: MvistaError | None = None
        self._plan: ExecutionPlan | None = None
        self._first_plan: ExecutionPlan | None = None
        self._paused_ns: int | None = None
        self._resume_s = 0.0
        self._pauses = 0
        self._progress = 0.0
        self._motion: Motion | None = None
        self._motion_start_ns = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._last: MotionState | None = None
        self._commands: list[JointCommand] = []
        self._log: list[tuple[float, Float64]] = []

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
        """Check a trajectory and begin: the next tick sends the measured pose.

        Raises:
            BusyError: one is being carried out. It goes on.
            StaleFeedbackError, ArmNotReadyError, ObservationError: the arm cannot start.
            TrajectoryError: refused whole, with a numbered reason.
        """
        if not self._status.final:
            raise BusyError(
                f"a trajectory is being executed ({self._status.value}); cancel it first"
            )
        ordered_points(trajectory, self._arm)
        fresh = self._watch.fresh(measured)
        plan = prepare(trajectory, fresh, self._arm, self._settings)
        self._tolerances = tolerances or Tolerances.default(self._arm, self._settings)
        self._plan = self._first_plan = plan
        # Making the plan took time: it waits, like after a stall, until feedback is fresh again.
        self._motion, self._resume_s = hold(plan.start, self._arm), 0.0
        self._paused_ns, self._pauses, self._progress = self._clock.monotonic_ns(), 0, 0.0
        self._error = self._asked_to_stop = None
        self._first_ns = self._last = None
        self._commands, self._log = [], []
        self._gate.restart()
        self._status = Status.APPROACHING if plan.approach else Status.RUNNING
        return plan

    def cancel(self, reason: MvistaError | None = None) -> None:
        """Ask for a smooth stop into a hold; from the next tick. Nothing moving: no effect."""
        if not self._status.final and self._asked_to_stop is None:
            self._asked_to_stop = reason or CancelledError("cancelled; the arm holds")

    def tick(self, measured: JointState | None) -> Tick:
        """The set-point for now. Call at `rate_hz`, also after the end: the hold is sent too."""
        if self._plan is None or self._motion is None:
            return Tick(Status.IDLE, None, 0.0, None, None)
        now_ns = self._clock.monotonic_ns()
        if self._first_ns is None:
            self._first_ns = self._motion_start_ns = now_ns
        was_final = self._status.final
        self._notice_stall(now_ns)
        actual = self._feedback(measured, now_ns)
        self._judge(actual, now_ns)
        state = self._send(now_ns)
        self._advance(actual, measured, now_ns)
        command = JointCommand(
            self._arm.joint_names, state.positions, state.velocities, self._clock.now_ns()
        )
        elapsed_s = ns_to_seconds(now_ns - self._first_ns)
        if not was_final:
            self._commands.append(command)
            missing = np.full_like(state.positions, np.nan)
            self._log.append((elapsed_s, missing if actual is None else actual))
        error = None if actual is None else actual - state.positions
        return Tick(self._status, command, self._progress, error, self._error)

    def report(self) -> ExecutionReport:
        """What has been sent and measured since `start`.

        Raises:
            ExecutionError: nothing was started.
        """
        if self._first_plan is None:
            raise ExecutionError("nothing was executed yet")
        shape = (len(self._log), len(self._arm.joint_names))
        return ExecutionReport(
            self._status,
            self._error,
            self._first_plan,
            self._pauses,
            self._arm.joint_names,
            tuple(self._commands),
            np.array([time_s for time_s, _ in self._log]),
            np.array([command.positions for command in self._commands]).reshape(shape),
            np.array([command.velocities for command in self._commands]).reshape(shape),
            np.array([actual for _, actual in self._log]).reshape(shape),
        )

    def _notice_stall(self, now_ns: int) -> None:
        """After a gap: hold where the last set-point was, and go on from there or give up."""
        if self._last is None or self._status in (Status.HOLDING, Status.DONE, Status.ABORTED):
            return
        gap_s = ns_to_seconds(now_ns - self._last_ns)
        if gap_s <= self._settings.stall_after_s:
            return
        if self._status is Status.STOPPING or gap_s > self._settings.give_up_after_s:
            error = ExecutionError(
                f"no set-point went out for {gap_s:.3f} s, at most "
                f"{self._settings.give_up_after_s} s allowed; the machine is overloaded or was "
                "suspended; the arm holds"
            )
            self._halt(error, now_ns)
        elif self._paused_ns is None:
            self._resume_s = ns_to_seconds(self._last_ns - self._motion_start_ns)
            self._rest_at_last(now_ns)
            self._paused_ns = now_ns
            self._pauses += 1

    def _feedback(self, measured: JointState | None, now_ns: int) -> Float64 | None:
        """Measured positions [J] when they may be trusted; when not, a stop is asked for.

        While paused this process's own feedback may be old too: it has `stale_after_s` to arrive.
        """
        try:
            return self._watch.fresh(measured).ordered(self._arm.joint_names)
        except (StaleFeedbackError, ObservationError) as error:
            paused_ns = self._paused_ns
            waited_s = 0.0 if paused_ns is None else ns_to_seconds(now_ns - paused_ns)
            if paused_ns is None or waited_s > self._settings.stale_after_s:
                self.cancel(error)
            return None

    def _judge(self, actual: Float64 | None, now_ns: int) -> None:
        """Begin a stop where there is reason for one; go on after a pause."""
        if self._status.final or self._status is Status.STOPPING:
            return
        if self._paused_ns is not None and actual is not None and self._asked_to_stop is None:
            assert self._plan is not None
            if self._resume_s > 0.0:
                self._plan = self._plan.resumed(self._resume_s, self._settings)
            self._motion = self._plan
            self._motion_start_ns, self._paused_ns = now_ns, None
        if self._asked_to_stop is not None:
            self._begin_stop(self._asked_to_stop, now_ns)
        elif actual is not None and self._last is not None:
            distance = np.abs(actual - self._last.positions)
            for joint in np.flatnonzero(distance > self._tolerances.path):
                error = PathToleranceError(
                    f"{self._arm.joint_names[joint]} is {distance[joint]:.3f} from its set-point, "
                    f"at most {self._tolerances.path[joint]:.3f} allowed; is something in the way?"
                )
                self._begin_stop(error, now_ns)
                return

    def _begin_stop(self, error: MvistaError, now_ns: int) -> None:
        assert self._plan is not None
        self._error, self._status = error, Status.STOPPING
        if self._last is None:
            self._motion, self._motion_start_ns = hold(self._plan.start, self._arm), now_ns
        else:
            self._motion, self._motion_start_ns = brake(self._last, self._arm), self._last_ns

    def _halt(self, error: MvistaError, now_ns: int) -> None:
        """Hold at once where the last set-point was."""
        self._error = self._error or error
        self._status = Status.ABORTED
        self._rest_at_last(now_ns)

    def _rest_at_last(self, now_ns: int) -> None:
        assert self._last is not None
        self._motion, self._motion_start_ns = hold(self._last.positions, self._arm), now_ns
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
            return self._send(now_ns)
        self._last, self._last_ns = state, now_ns
        return state

    def _advance(self, actual: Float64 | None, measured: JointState | None, now_ns: int) -> None:
        """The status after this tick's set-point."""
        assert self._plan is not None and self._motion is not None
        elapsed_s = ns_to_seconds(now_ns - self._motion_start_ns)
        if self._status is Status.STOPPING:
            if elapsed_s >= self._motion.duration_s:
                self._status = Status.ABORTED
        elif self._paused_ns is not None:
            return
        elif self._status is Status.HOLDING:
            self._settle(actual, measured, elapsed_s - self._plan.duration_s)
        elif not self._status.final:
            self._count_progress(self._plan.duration_s - elapsed_s)
            if elapsed_s >= self._plan.duration_s:
                self._status = Status.HOLDING
            elif elapsed_s >= self._plan.approach_s:
                self._status = Status.RUNNING

    def _count_progress(self, left_s: float) -> None:
        assert self._first_plan is not None
        total_s = max(self._first_plan.duration_s, self._settings.period_s)
        self._progress = float(np.clip(1.0 - left_s / total_s, self._progress, 1.0))

    def _settle(self, actual: Float64 | None, measured: JointState | None, waited_s: float) -> None:
        """DONE once the arm rests at the last point; ABORTED when it takes too long."""
        assert self._plan is not None
        if actual is None or measured is None:
            return
        order = [measured.names.index(name) for name in self._arm.joint_names]
        distance = np.abs(actual - self._plan.end)
        moving = np.abs(measured.velocities[order]) > self._rest
        late = (distance > self._tolerances.goal) | (moving & np.isfinite(self._tolerances.goal))
        if not late.any():
            self._status = Status.DONE
        elif waited_s > self._tolerances.goal_time_s:
            joint = int(np.flatnonzero(late)[0])
            self._error = GoalToleranceError(
                f"{self._arm.joint_names[joint]} is {distance[joint]:.4f} from the last point, at "
                f"most {self._tolerances.goal[joint]:.4f} and at rest within "
                f"{self._tolerances.goal_time_s:.2f} s allowed; the arm holds"
            )
            self._status = Status.ABORTED
