"""The order of a period: what is due goes out before states are heard, but for after a gap."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from mvista_core.arm import ArmModel
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointCommand, JointState
from mvista_core.timing import ManualClock, ns_to_seconds
from mvista_executor.command_loop import CommandLoop, Turn
from mvista_executor.report import Status
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import make_successor
from tests.executor.rig import FollowerArm, smooth_points, trajectory_of

pytestmark = pytest.mark.slow
STALL_S = 0.3


class Cell:
    """A stream in its loop and an arm that is measured all the while, heard when the loop asks."""

    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self.arm, self.clock = arm, ManualClock(10**10)
        self.follower = FollowerArm(arm, self.clock, arm.home)
        self.stream = ExecutionStream(arm, settings, self.clock)
        self.newest: JointState | None = None
        self.done: list[str] = []
        goals: Any = SimpleNamespace(active=True, plan_id="p", note=lambda tick: None)
        rivals: Any = SimpleNamespace(look=lambda: None, writers=0, servers=0)
        self.loop = CommandLoop(
            *(self.stream, threading.Lock(), goals, lambda: self.newest),
            *(rivals, settings, self.clock, print),
        )

    def hear(self) -> None:
        self.done.append("hear")
        self.newest = self.follower.state()

    def send(self, command: JointCommand) -> None:
        self.done.append("send")
        self.follower.send(command)

    def step(self) -> Turn | None:
        turn = self.loop.step(self.hear, self.send)
        self.clock.advance(0.005)
        return turn

    def until(self, status: Status) -> None:
        for _ in range(2000):
            if self.stream.status is status:
                return
            self.step()
        raise AssertionError(self.stream.status)


@pytest.fixture
def cell(arm: ArmModel, settings: ExecutorSettings) -> Cell:
    return Cell(arm, settings)


def test_a_set_point_does_not_wait_for_what_is_heard(cell: Cell) -> None:
    cell.step()
    cell.stream.start(trajectory_of(cell.arm, smooth_points(cell.arm, 3)), cell.newest)
    cell.until(Status.RUNNING)
    cell.done.clear()
    for _ in range(10):
        cell.step()
    assert cell.done == ["send", "hear"] * 10
    assert cell.newest is not None
    age_s = ns_to_seconds(cell.clock.now_ns() - cell.newest.stamp_ns)
    assert age_s == pytest.approx(0.005), "what is judged is a period old at the most"


@pytest.mark.parametrize("status", [Status.RUNNING, Status.HOLDING])
def test_after_a_stall_what_was_measured_meanwhile_is_heard_first(
    cell: Cell, status: Status
) -> None:
    """An arm that spoke all the time is not silent because nobody listened."""
    cell.follower.lag_s = 0.2  # so that it is not there yet when the motion has ended
    cell.step()
    cell.stream.start(trajectory_of(cell.arm, smooth_points(cell.arm, 3)), cell.newest)
    cell.until(status)
    cell.clock.advance(STALL_S)
    cell.done.clear()
    cell.step()
    assert cell.done[0] == "hear"
    cell.until(Status.DONE)
    assert cell.stream.report().error is None


def test_so_it_is_before_a_motion_that_waits_for_its_time(
    cell: Cell, settings: ExecutorSettings
) -> None:
    cell.step()
    points = smooth_points(cell.arm, 3)
    standing = cell.stream.standing(cell.newest, delay_s=1.0)
    wanted = make_successor(trajectory_of(cell.arm, points), standing, cell.arm, settings)
    cell.stream.take_over(wanted, cell.newest)
    for stalled_s in (STALL_S, STALL_S):
        cell.step()
        cell.clock.advance(stalled_s)
    cell.until(Status.DONE)
    assert cell.stream.report().error is None
