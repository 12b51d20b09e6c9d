"""From an accepted goal to a running trajectory to its end: who is planned, who runs, who is done.

Plans are made on a thread of this queue's own, so that neither the ticker nor the reading of
feedback waits for one. Results are left in `take_ended` for whoever may talk to the client.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    BusyError,
    CancelledError,
    MvistaError,
    PreemptedError,
    StaleFeedbackError,
)
from mvista_core.ports import Clock
from mvista_core.records import JointState
from mvista_core.timing import seconds_to_ns
from mvista_executor.action_messages import goal_from_msg
from mvista_executor.report import Recording, Tick
from mvista_executor.settings import ExecutorSettings
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import make_successor

START_WITHIN_S = 1.0
"""How long a goal waits for feedback, or for the arm to have stopped."""
RETRY_S = 0.01


class Handle(Protocol):
    """What is needed of an action server's goal handle."""

    request: Any

    @property
    def is_cancel_requested(self) -> bool: ...

    def publish_feedback(self, feedback: Any) -> None: ...

    def execute(self, execute_callback: Callable[[Any], Any]) -> None: ...


@dataclass(frozen=True)
class Ended:
    """A goal that is over; `recording` is None when nothing was sent for it."""

    handle: Handle
    error: MvistaError | None
    recording: Recording | None


class GoalQueue:
    """At most one goal runs and one is being planned; a newer one replaces either.

    `lock` guards the stream: hold it around `note` and every tick.
    """

    def __init__(
        self,
        stream: ExecutionStream,
        lock: threading.Lock,
        arm: ArmModel,
        settings: ExecutorSettings,
        clock: Clock,
        measured: Callable[[], JointState | None],
    ) -> None:
        self._stream, self._lock = stream, lock
        self._arm, self._settings, self._clock = arm, settings, clock
        self._measured = measured
        self._wake = threading.Condition()
        self._pending: Handle | None = None
        self._ended: deque[Ended] = deque()
        self._open = 0
        self._thread = threading.Thread(target=self._work, name="planner", daemon=True)
        self.active: Handle | None = None
        self.closed = False
        self.failure: BaseException | None = None
        self.idle = threading.Event()
        self.idle.set()

    def start(self) -> None:
        """Begin to plan what is offered."""
        self._thread.start()

    def offer(self, handle: Handle) -> None:
        """Plan this goal next; one that still waits to be planned ends here."""
        with self._wake:
            self._open += 1
            self.idle.clear()
            waiting, self._pending = self._pending, handle
            self._wake.notify()
        if waiting is not None:
            self._end(waiting, PreemptedError("a newer goal came before this one was planned"))

    def cancel(self, handle: Handle) -> None:
        """Stop the arm smoothly if this is the goal that runs; a planned one is not begun."""
        with self._lock:
            if handle is self.active:
                self._stream.cancel()

    def close(self, error: MvistaError) -> None:
        """Take no more goals; stop the arm smoothly for this reason."""
        self.closed = True
        with self._wake:
            waiting, self._pending = self._pending, None
            self._wake.notify()
        if waiting is not None:
            self._end(waiting, error)
        with self._lock:
            self._stream.cancel(error)

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
        with self._wake:
            self._open -= 1
            if self._open == 0:
                self.idle.set()

    def _end(
        self, handle: Handle, error: MvistaError | None, recording: Recording | None = None
    ) -> None:
        self._ended.append(Ended(handle, error, recording))

    def _work(self) -> None:
        try:
            while not self.closed:
                with self._wake:
                    while self._pending is None and not self.closed:
                        self._wake.wait()
                    handle, self._pending = self._pending, None
                if handle is not None:
                    error = self._begin(handle)
                    if error is not None:
                        self._end(handle, error)
        except BaseException as error:
            self.failure = error

    def _begin(self, handle: Handle) -> MvistaError | None:
        """Plan and start a goal; returns why it was not started."""
        give_up_ns = self._clock.monotonic_ns() + seconds_to_ns(START_WITHIN_S)
        while True:
            if handle.is_cancel_requested or self.closed:
                return CancelledError("cancelled before it began; the arm holds")
            try:
                self._plan(handle)
                return None
            except (BusyError, StaleFeedbackError) as error:
                now_ns = self._clock.monotonic_ns()
                if now_ns > give_up_ns:
                    return error
                self._clock.sleep_until(now_ns + seconds_to_ns(RETRY_S))
            except MvistaError as error:
                return error

    def _plan(self, handle: Handle) -> None:
        arm, settings = self._arm, self._settings
        asked = goal_from_msg(handle.request, self._measured(), self._clock.now_ns(), arm, settings)
        with self._lock:
            standing = self._stream.standing(
                self._measured(), settings.splice_ahead_s, asked.delay_s
            )
        successor = make_successor(asked.trajectory, standing, arm, settings, asked.tolerances)
        with self._lock:
            replaced = self._stream.take_over(successor, self._measured())
            if self.active is not None and replaced is not None:
                self._end(self.active, replaced.error, replaced)
            self.active = handle
            if handle.is_cancel_requested or self.closed:
                self._stream.cancel()
