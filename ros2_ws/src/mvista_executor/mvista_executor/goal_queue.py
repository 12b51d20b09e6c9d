"""From an accepted goal to a running trajectory to its end: who is planned, who runs, who is done.

Plans are asked for on a thread of this queue's own, so that neither the ticker nor the taking of
goals waits for one. Results are left in `take_ended` for whoever may talk to the client.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    BusyError,
    CancelledError,
    MvistaError,
    PreemptedError,
    StaleFeedbackError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.ports import Clock
from mvista_core.records import ActionTrajectory, Float64, JointState
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_executor.action_messages import GoalData, goal_from_data, take_message
from mvista_executor.planning_process import planning_failed
from mvista_executor.report import Recording, Tick, Tolerances
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import Standing, Successor

START_WITHIN_S = 1.0
"""How long a goal waits for feedback, or for the arm to have stopped."""
RETRY_S = 0.01
MOST_WAITING = 16
"""Goals that wait to be planned; one more is refused."""


class Handle(Protocol):
    """What is needed of an action server's goal handle."""

    request: Any

    @property
    def is_cancel_requested(self) -> bool: ...

    def publish_feedback(self, feedback: Any) -> None: ...

    def execute(self, execute_callback: Callable[[Any], Any]) -> None: ...


Plan = Callable[[ActionTrajectory, Standing, Tolerances, Callable[[], bool]], Successor]
"""`PlanningProcess.plan`."""


@dataclass(frozen=True)
class Ended:
    """A goal that is over; `recording` is None when nothing was sent for it."""

    handle: Handle
    error: MvistaError | None
    recording: Recording | None


class GoalQueue:
    """At most one goal runs and one is being planned; the newest good one replaces the rest.

    `lock` guards the stream and this queue: hold it around `note` and every tick. Under it a goal
    is always in one place: waiting, being planned, active, or ended. So a cancel meets it wherever
    it is; one that comes while a goal is planned is kept in `_called_off`, and the plan is taken
    over under the same lock only where there is none. `plan_id` is of the goal that began last.
    """

    def __init__(
        self,
        stream: ExecutionStream,
        lock: threading.Lock,
        arm: ArmModel,
        settings: ExecutorSettings,
        clock: Clock,
        measured: Callable[[], JointState | None],
        plan: Plan,
        allowed: Callable[[], MvistaError | None] = lambda: None,
        on_ended: Callable[[], object] = lambda: None,
        log: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`allowed` says why no goal may begin now, `on_ended` is told that one has ended."""
        self._stream, self._lock = stream, lock
        self._arm, self._settings, self._clock = arm, settings, clock
        self._measured, self._make_plan, self._allowed = measured, plan, allowed
        self._on_ended, self._log = on_ended, log
        self._wake = threading.Condition(lock)
        self._waiting: list[Handle] = []
        self._planning: Handle | None = None
        self._older: tuple[Handle, ...] = ()
        self._called_off: MvistaError | None = None
        self._ended: deque[Ended] = deque()
        self._open = 0
        self._thread = threading.Thread(target=self._work, name="planner", daemon=True)
        self.active: Handle | None = None
        self.asked_s: Float64 = np.zeros(0)
        self.plan_id = ""
        self.closed = False
        self.idle = threading.Event()
        self.idle.set()

    def start(self) -> None:
        """Begin to plan what is offered."""
        self._thread.start()

    def offer(self, handle: Handle) -> None:
        """Plan this goal next. Those that wait end when it begins, and not when it is refused."""
        with self._lock:
            self._open += 1
            self.idle.clear()
            if handle.is_cancel_requested or self.closed:
                self._end(handle, _cancelled())
            elif len(self._waiting) >= MOST_WAITING:
                self._end(handle, BusyError(f"{MOST_WAITING} goals wait to be planned already"))
            else:
                self._waiting.append(handle)
                self._wake.notify()

    def cancel(self, handle: Handle) -> None:
        """End this goal: the arm stops smoothly if it runs; one that has not begun never does."""
        with self._lock:
            if handle is self.active:
                self._stream.cancel()
            elif handle is self._planning:
                self._called_off = _cancelled()
            else:
                self._end_if_waiting(handle, _cancelled())

    def stop_for(self, error: MvistaError) -> None:
        """End every goal for this reason; the arm stops smoothly."""
        with self._lock:
            for handle in tuple(self._waiting):
                self._end_if_waiting(handle, error)
            if self._planning is not None:
                self._called_off = error
            self._stream.cancel(error)

    def close(self, error: MvistaError) -> None:
        """Take no more goals; stop the arm smoothly for this reason."""
        with self._lock:
            self.closed = True
            self._wake.notify()
        self.stop_for(error)

    def note(self, tick: Tick) -> None:
        """What the stream said; call it with the lock held, after every tick."""
        if self.active is not None and tick.status.final:
            self._end(self.active, tick.error, self._stream.recording)
            self.active = None

    def take_ended(self) -> tuple[Ended, ...]:
        """Goals that ended since this was last asked; answer each with `concluded`."""
        return tuple(self._ended.popleft() for _ in range(len(self._ended)))

    def concluded(self) -> None:
        """A goal's client has been told."""
        with self._lock:
            self._open -= 1
            if self._open == 0:
                self.idle.set()

    def _end(
        self, handle: Handle, error: MvistaError | None, recording: Recording | None = None
    ) -> None:
        self._ended.append(Ended(handle, error, recording))
        self._on_ended()

    def _end_if_waiting(self, handle: Handle, error: MvistaError) -> None:
        """With the lock held. Handles are told apart as objects: rclpy's are equal by their id."""
        left = [waiting for waiting in self._waiting if waiting is not handle]
        if len(left) < len(self._waiting):
            self._waiting = left
            self._end(handle, error)

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self.closed:
                    self._wake.wait()
                if self.closed:
                    return
                # The newest first: those before it end when it begins, and are planned if it is
                # refused.
                self._planning, self._called_off = self._waiting.pop(), None
                handle, self._older = self._planning, tuple(self._waiting)
            error = self._begin(handle)
            with self._lock:
                if error is not None:
                    self._planning = None
                    self._end(handle, error)

    def _begin(self, handle: Handle) -> MvistaError | None:
        """Plan and start a goal; returns why it was not started. Nothing leaves it."""
        try:
            self._start(take_message(handle.request, self._settings), handle)
            return None
        except MvistaError as error:
            return error
        except Exception as error:
            self._log("".join(traceback.format_exception(error)))
            return planning_failed(repr(error))

    def _start(self, goal: GoalData, handle: Handle) -> None:
        """Try until the arm can start, for `START_WITHIN_S`, and once more if a plan took longer.

        Raises:
            MvistaError: refused, or called off.
        """
        began_ns = self._clock.monotonic_ns()
        ahead_s, tries = self._settings.splice_ahead_s, 0
        while True:
            try:
                return self._try(goal, handle, ahead_s)
            except (BusyError, StaleFeedbackError):
                tries += 1
                took_s = ns_to_seconds(self._clock.monotonic_ns() - began_ns)
                if took_s > START_WITHIN_S and tries > 1:
                    raise
                # A plan that was past when it came is asked for farther ahead.
                ahead_s = max(ahead_s, 2.0 * took_s / tries)
                wake_ns = self._clock.monotonic_ns() + seconds_to_ns(RETRY_S)
                self._clock.sleep_until(wake_ns)

    def _try(self, goal: GoalData, handle: Handle, ahead_s: float) -> None:
        arm, settings = self._arm, self._settings
        asked = goal_from_data(goal, self._measured(), self._clock.now_ns(), arm, settings)
        with self._lock:
            self._check_wanted()
            standing = self._stream.standing(self._measured(), ahead_s, asked.delay_s)
        # Without the lock: a plan takes tens of milliseconds, the ticker asks for it every five.
        successor = self._make_plan(
            asked.trajectory, standing, asked.tolerances, lambda: self._called_off is None
        )
        with self._lock:
            self._check_wanted()
            replaced = self._stream.take_over(successor, self._measured())
            if self.active is not None and replaced is not None:
                self._end(self.active, replaced.error, replaced)
            self.active, self._planning = handle, None
            self.asked_s, self.plan_id = goal.trajectory.times_s, goal.plan_id
            newer = PreemptedError("a newer goal began before this one was planned")
            for older in self._older:
                self._end_if_waiting(older, newer)

    def _check_wanted(self) -> None:
        """With the lock held: may the goal that is planned still begin?"""
        if self._called_off is not None:
            raise self._called_off
        if (error := self._allowed()) is not None:
            raise error


def _cancelled() -> CancelledError:
    return CancelledError("cancelled before it began; the arm holds")
