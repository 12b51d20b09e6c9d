"""Plans made in a process of their own: what is heavy never runs on the interpreter that streams.

The process is a function with a door: a trajectory and where the stream stands go in, a plan or
a refusal comes out (`planning_main`).
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from mvista_core import realtime
from mvista_core.arm import ArmModel
from mvista_core.errors import CancelledError, MvistaError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.ports import Clock
from mvista_core.records import ActionTrajectory
from mvista_core.timing import seconds_to_ns
from mvista_executor.report import Tolerances
from mvista_executor.successor import Standing, Successor

PLAN_WITHIN_S = 20.0
ASK_AGAIN_S = 0.02
END_S = 2.0
PROCESS = "mvista_executor.planning_main"


@dataclass(frozen=True)
class Question:
    """What is to be planned."""

    number: int
    trajectory: ActionTrajectory
    standing: Standing
    tolerances: Tolerances


@dataclass(frozen=True)
class Answer:
    """What came of it; `trace` is told on the log."""

    number: int
    found: Successor | MvistaError
    trace: str = ""


class PlanningProcess:
    """`make_successor` in another process; call it from one thread."""

    def __init__(
        self,
        arm: ArmModel,
        settings: ExecutorSettings,
        clock: Clock,
        log: Callable[[str], object],
        within_s: float = PLAN_WITHIN_S,
    ) -> None:
        """`log` is told what went wrong in there; a plan that takes longer than `within_s` ends."""
        self._arm, self._settings, self._clock, self._log = arm, settings, clock, log
        self._within_s = within_s
        self._number = 0
        self._ended = False
        self._begin()

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    def plan(
        self,
        trajectory: ActionTrajectory,
        standing: Standing,
        tolerances: Tolerances,
        keep_going: Callable[[], bool],
    ) -> Successor:
        """As `make_successor`; a plan that nobody waits for any more is left to itself.

        Raises:
            TrajectoryError, ArmNotReadyError, ObservationError: as `make_successor`, and
                `PLANNING_FAILED` for what should not happen: the next goal is planned afresh.
            CancelledError: `keep_going` turned False.
        """
        try:
            while self._answered < self._number:
                # Of a plan that was left to itself: unread, it would fill the pipe, and both ends
                # would wait to write.
                self._answer(keep_going)
            self._number += 1
            # The motion stays here, where `take_over` knows it by identity; its state is enough.
            asked = Question(self._number, trajectory, replace(standing, motion=None), tolerances)
            self._pipe.send(asked)
            answer = self._answer(keep_going)
        except (EOFError, OSError) as error:
            self._begin_again()
            raise planning_failed(f"the planning process ended ({error!r})") from None
        if answer.trace:
            self._log(answer.trace)
        if isinstance(answer.found, MvistaError):
            raise answer.found
        return replace(answer.found, standing=standing)

    def stop(self) -> None:
        """End the process; whoever still waits for a plan is told that there is none."""
        self._ended = True
        self._end()

    def _end(self) -> None:
        self._pipe.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self, keep_going: Callable[[], bool]) -> Answer:
        until_ns = self._clock.monotonic_ns() + seconds_to_ns(self._within_s)
        while True:
            if self._pipe.poll(ASK_AGAIN_S):
                answer: Answer = self._pipe.recv()
                self._answered = answer.number
                if answer.number == self._number:
                    return answer
            if not keep_going():
                raise CancelledError("cancelled before it began; the arm holds")
            if self._clock.monotonic_ns() > until_ns:
                self._begin_again()
                raise planning_failed(f"it took longer than {self._within_s:g} s")

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        # The child has its own copy: with ours left open, its death would not end the pipe.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROCESS, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        # It inherits SCHED_FIFO, under which a long plan would keep ordinary processes waiting.
        realtime.release(self._process.pid)
        self._answered = self._number
        self._pipe: Connection = Connection(ours.detach())
        self._pipe.send((self._arm, self._settings))

    def _begin_again(self) -> None:
        self._log(f"the planning process {self._process.pid} is given up; another one begins")
        self._process.kill()
        self._end()
        if not self._ended:
            self._begin()


def planning_failed(why: str) -> TrajectoryError:
    """The refusal of a goal whose planning met what should not happen."""
    return TrajectoryError(
        TrajectoryError.PLANNING_FAILED,
        f"planning failed: {why}; this goal is not carried out, others are; see the executor's log",
    )
