"""`GoalQueue`: where a goal is when something else happens to it. Each race is forced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    BusyError,
    CancelledError,
    MvistaError,
    PreemptedError,
    RivalWritersError,
    TrajectoryError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.timing import ManualClock, SystemClock
from mvista_executor.goal_queue import MOST_WAITING, Ended, GoalQueue
from mvista_executor.report import Status
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import Successor, make_successor
from mvista_ros.convert import trajectory_to_msg
from tests.executor.rig import FollowerArm, trajectory_of

WAIT_S = 10.0
CLOCK = SystemClock()


class Handle:
    """An action server's goal handle. rclpy marks it as cancelled after the cancel callback."""

    def __init__(self, arm: ArmModel, last_rad: float = 0.3) -> None:
        points = arm.home + last_rad * np.linspace(0.05, 1.0, 30)[:, None] * np.eye(7)[0]
        trajectory = trajectory_to_msg(trajectory_of(arm, points))
        self.request = FollowJointTrajectory.Goal(trajectory=trajectory)
        self.is_cancel_requested = False

    def publish_feedback(self, feedback: Any) -> None: ...

    def execute(self, execute_callback: Callable[[Any], Any]) -> None: ...


class TickedClock(ManualClock):
    """Ticks alone let time pass: whoever sleeps waits for them."""

    def sleep_until(self, monotonic_ns: int) -> None:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 2_000_000)


class Bench:
    """A queue and a stream under a clock that stands; `between` runs once a plan is made and
    before it is taken over."""

    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self.arm, self.settings, self.clock = arm, settings, TickedClock(10**10)
        self.follower = FollowerArm(arm, self.clock, arm.home)
        self.stream, self.lock = ExecutionStream(arm, settings, self.clock), threading.Lock()
        self.between: Callable[[], object] = lambda: None
        self.rival: MvistaError | None = None
        self.planned = 0
        self.ended: list[Ended] = []
        self.logged: list[str] = []
        self.queue = GoalQueue(
            self.stream,
            self.lock,
            arm,
            settings,
            self.clock,
            self.follower.state,
            plan=self._plan,
            allowed=lambda: self.rival,
            log=self.logged.append,
        )
        self.queue.start()

    def _plan(self, trajectory: Any, standing: Any, tolerances: Any, keep_going: Any) -> Successor:
        self.planned += 1
        found = make_successor(trajectory, standing, self.arm, self.settings, tolerances)
        self.between()
        return found

    def tick(self) -> None:
        with self.lock:
            self.queue.note(self.stream.tick(self.follower.state()))
        self.clock.advance(0.005)

    def until(self, condition: Callable[[], bool], ticking: bool = False) -> None:
        deadline_ns = CLOCK.monotonic_ns() + round(WAIT_S * 1e9)
        while not condition():
            assert CLOCK.monotonic_ns() < deadline_ns, "it does not happen"
            if ticking:
                self.tick()
            # Slower than it says: a plan that is made here has to come in time on a busy machine.
            CLOCK.sleep_until(CLOCK.monotonic_ns() + (20_000_000 if ticking else 2_000_000))

    def end_of(self, handle: Handle) -> MvistaError | None:
        """Why this goal ended, once it has."""

        def found() -> list[Ended]:
            self.ended += self.queue.take_ended()
            return [ended for ended in self.ended if ended.handle is handle]

        self.until(lambda: bool(found()))
        assert len(found()) == 1, "a goal ends once"
        return found()[0].error


@pytest.fixture
def bench(arm: ArmModel, settings: ExecutorSettings) -> Iterator[Bench]:
    bench = Bench(arm, settings)
    yield bench
    bench.queue.close(CancelledError("the test is over"))


def test_a_cancel_between_the_plan_and_its_take_over_is_not_lost(bench: Bench) -> None:
    """`is_cancel_requested` is still False then: rclpy asks the callback first."""
    handle = Handle(bench.arm)
    bench.between = lambda: bench.queue.cancel(handle)
    bench.queue.offer(handle)
    assert isinstance(bench.end_of(handle), CancelledError)
    assert bench.planned == 1 and bench.queue.active is None
    assert bench.stream.status is Status.IDLE
    bench.tick()
    assert bench.stream.tick(bench.follower.state()).command is None


def test_a_cancel_just_after_the_take_over_stops_the_arm(bench: Bench) -> None:
    handle = Handle(bench.arm)
    bench.queue.offer(handle)
    bench.until(lambda: bench.queue.active is handle)
    bench.queue.cancel(handle)
    for _ in range(200):
        bench.tick()
    assert isinstance(bench.end_of(handle), CancelledError)
    last = bench.stream.tick(bench.follower.state()).command
    assert last is not None and np.allclose(last.positions, bench.arm.home, atol=1e-3)


def test_a_goal_that_waits_and_is_cancelled_never_begins(bench: Bench) -> None:
    first, second = Handle(bench.arm), Handle(bench.arm)
    go, held = threading.Event(), threading.Event()
    bench.between = partial(_hold_up, held, go)
    bench.queue.offer(first)
    assert held.wait(WAIT_S)
    bench.queue.offer(second)
    bench.queue.cancel(second)
    assert isinstance(bench.end_of(second), CancelledError)
    go.set()
    bench.until(lambda: bench.queue.active is first)
    assert bench.planned == 1


def test_a_goal_that_was_cancelled_before_it_was_offered_never_begins(bench: Bench) -> None:
    handle = Handle(bench.arm)
    handle.is_cancel_requested = True
    bench.queue.offer(handle)
    assert isinstance(bench.end_of(handle), CancelledError)
    assert bench.planned == 0


def test_the_cancel_of_a_stranger_touches_nobody(bench: Bench) -> None:
    handle, stranger = Handle(bench.arm), Handle(bench.arm)
    bench.between = lambda: bench.queue.cancel(stranger)
    bench.queue.offer(handle)
    bench.until(lambda: bench.queue.active is handle)
    bench.queue.cancel(stranger)
    bench.tick()
    assert not bench.stream.status.final


def test_closing_between_the_plan_and_its_take_over_begins_nothing(bench: Bench) -> None:
    handle = Handle(bench.arm)
    bench.between = lambda: bench.queue.close(CancelledError("shutting down"))
    bench.queue.offer(handle)
    assert "shutting down" in str(bench.end_of(handle))
    assert bench.queue.active is None


def _hold_up(held: threading.Event, go: threading.Event) -> None:
    held.set()
    go.wait(WAIT_S)


def _three(bench: Bench, newest: Handle) -> tuple[Handle, Handle]:
    """One that is planned, one that waits, and `newest` after them."""
    first, second = Handle(bench.arm), Handle(bench.arm)
    go, held = threading.Event(), threading.Event()
    bench.between = partial(_hold_up, held, go)
    bench.queue.offer(first)
    assert held.wait(WAIT_S)
    bench.queue.offer(second)
    bench.queue.offer(newest)
    go.set()
    return first, second


def test_the_newest_good_goal_replaces_those_that_wait(bench: Bench) -> None:
    newest = Handle(bench.arm)
    first, second = _three(bench, newest)
    bench.until(lambda: bench.queue.active is newest, ticking=True)
    assert isinstance(bench.end_of(first), PreemptedError)
    assert isinstance(bench.end_of(second), PreemptedError)
    assert bench.planned >= 2


def test_a_bad_goal_does_not_replace_those_that_wait(bench: Bench) -> None:
    bad = Handle(bench.arm, last_rad=float("nan"))
    first, second = _three(bench, bad)
    bench.until(lambda: bench.queue.active is second, ticking=True)
    assert isinstance(bench.end_of(bad), TrajectoryError)
    assert isinstance(bench.end_of(first), PreemptedError)


def test_a_crowd_is_refused_and_not_kept(bench: Bench) -> None:
    first = Handle(bench.arm)
    go, held = threading.Event(), threading.Event()
    bench.between = partial(_hold_up, held, go)
    bench.queue.offer(first)
    assert held.wait(WAIT_S)
    for _ in range(MOST_WAITING):
        bench.queue.offer(Handle(bench.arm))
    one_more = Handle(bench.arm)
    bench.queue.offer(one_more)
    assert isinstance(bench.end_of(one_more), BusyError)
    bench.between = lambda: None
    go.set()


def test_what_nobody_expected_ends_its_goal_alone(bench: Bench) -> None:
    def fails() -> None:
        raise ZeroDivisionError("surprise")

    bench.between = fails
    broken, good = Handle(bench.arm), Handle(bench.arm)
    bench.queue.offer(broken)
    error = bench.end_of(broken)
    assert isinstance(error, TrajectoryError) and error.reason == TrajectoryError.PLANNING_FAILED
    assert "surprise" in bench.logged[0]
    bench.between = lambda: None
    bench.queue.offer(good)
    bench.until(lambda: bench.queue.active is good)


def test_a_rival_that_comes_while_a_goal_is_planned_keeps_it_from_beginning(bench: Bench) -> None:
    handle, rival = Handle(bench.arm), RivalWritersError("another executor")

    def comes() -> None:
        bench.rival = rival

    bench.between = comes
    bench.queue.offer(handle)
    assert bench.end_of(handle) is rival
    assert bench.queue.active is None


def test_idle_is_told_when_all_were_answered(bench: Bench) -> None:
    handle = Handle(bench.arm)
    handle.is_cancel_requested = True
    assert bench.queue.idle.is_set()
    bench.queue.offer(handle)
    assert not bench.queue.idle.is_set()
    bench.queue.concluded()
    assert bench.queue.idle.is_set()
