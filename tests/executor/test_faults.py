"""One test per fault: what the executor does, within how long, and that what it sends never jumps.

`Cell.check` holds each test to it: velocity, acceleration and jerk of everything that was sent stay
within the limits, the last set-point is at rest, and the stream never stops holding it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    ArmNotReadyError,
    CancelledError,
    ExecutionError,
    MvistaError,
    PathToleranceError,
    StaleFeedbackError,
    TrajectoryError,
    WorkspaceError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointState
from mvista_core.timing import ManualClock, seconds_to_ns
from mvista_executor.goal import check_age, from_now_on
from mvista_executor.report import Status
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import make_successor
from tests.executor.rig import FollowerArm, assert_within_limits, smooth_points, trajectory_of

pytestmark = pytest.mark.slow

PERIOD_S = 0.005


class WallClock(ManualClock):
    """Its wall time can be stepped against its monotonic time."""

    step_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.step_ns


class Cell:
    """A stream and an arm; `feedback` may bend what the stream is told."""

    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self.arm, self.clock = arm, WallClock(10**10)
        self.follower = FollowerArm(arm, self.clock, arm.home)
        self.stream = ExecutionStream(arm, settings, self.clock)
        self.feedback: Callable[[JointState | None], JointState | None] = lambda state: state

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_ns() / 1e9

    def start(self, points: np.ndarray) -> None:
        self.stream.start(trajectory_of(self.arm, points), self.feedback(self.follower.state()))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            tick = self.stream.tick(self.feedback(self.follower.state()))
            if tick.command is not None:
                self.follower.send(tick.command)
            self.clock.advance(PERIOD_S)

    def until_noticed(self, seconds: float = 1.0) -> float:
        """Seconds until a stop began."""
        began_s = self.now_s
        while self.stream.status not in (Status.STOPPING, Status.ABORTED):
            assert self.now_s < began_s + seconds, self.stream.status
            self.run(PERIOD_S)
        return self.now_s - began_s

    def check(self, error: type[MvistaError] | None) -> None:
        self.run(1.5)
        times_s, sent = self.follower.sent
        assert_within_limits(self.arm, times_s, sent)
        assert not self.follower.commands[-1][1].velocities.any()
        assert times_s[-1] == pytest.approx(self.now_s - PERIOD_S), "the hold is no longer sent"
        told = self.stream.report().error
        assert told is None if error is None else isinstance(told, error), told


@pytest.fixture
def cell(arm: ArmModel, settings: ExecutorSettings) -> Cell:
    return Cell(arm, settings)


def long_way(arm: ArmModel) -> np.ndarray:
    """6.4 s in which joint 1 swings by 0.8 rad and comes to 0.75 rad/s."""
    points = np.tile(arm.home, (96, 1))
    points[:, 0] += 0.4 * (1 - np.cos(np.arange(1, 97) / 96 * 2 * np.pi))
    return points


def refused(cell: Cell, points: np.ndarray, reason: int) -> None:
    with pytest.raises(TrajectoryError, match=rf"\[50\.{reason}\]"):
        cell.start(points)
    cell.run(0.5)
    assert cell.follower.commands == []


def test_a_trajectory_with_nan_is_refused_whole(cell: Cell, arm: ArmModel) -> None:
    points = long_way(arm)
    points[40, 2] = np.nan
    refused(cell, points, TrajectoryError.NOT_FINITE)


def test_a_stale_plan_is_refused(settings: ExecutorSettings, arm: ArmModel) -> None:
    """Made too long ago, or its time to start and to end is past."""
    now_ns = 10**18
    for age_s, ok in ((settings.max_plan_age_s - 1, True), (settings.max_plan_age_s + 1, False)):
        made_ns = now_ns - seconds_to_ns(age_s)
        if ok:
            check_age(made_ns, now_ns, settings)
            continue
        with pytest.raises(TrajectoryError, match=r"\[50\.14\] the plan was made 301\.0 s ago"):
            check_age(made_ns, now_ns, settings)
    with pytest.raises(TrajectoryError, match=r"\[50\.14\].* 12\.0 s ahead .* clocks agree"):
        check_age(now_ns + seconds_to_ns(12.0), now_ns, settings)
    late_ns = now_ns - seconds_to_ns(60.0)
    with pytest.raises(TrajectoryError, match=r"\[50\.14\]"):
        from_now_on(trajectory_of(arm, long_way(arm)), late_ns, now_ns, settings)


def test_a_start_0_3_rad_away_is_approached_slowly_and_0_6_rad_is_refused(
    cell: Cell, arm: ArmModel, settings: ExecutorSettings
) -> None:
    """The arm was moved while the plan was made."""
    refused(cell, long_way(arm) + 0.6 * np.eye(7)[0], TrajectoryError.START_TOO_FAR)
    cell.start(long_way(arm) + 0.3 * np.eye(7)[0])
    cell.run(0.6)
    assert cell.stream.status is Status.APPROACHING
    cell.run(9.0)
    times_s, sent = cell.follower.sent
    reached = int(np.argmax(np.abs(sent[:, 0] - arm.home[0]) > 0.29))
    speed = np.abs(np.diff(sent[:reached, 0])) / np.diff(times_s[:reached])
    assert speed.max() <= settings.approach_speed_rad_s * (1 + 1e-6)
    cell.check(None)


def test_an_arm_that_is_moved_while_its_plan_is_made_is_not_started(
    cell: Cell, arm: ArmModel, settings: ExecutorSettings
) -> None:
    standing = cell.stream.standing(cell.follower.state())
    successor = make_successor(trajectory_of(arm, long_way(arm)), standing, arm, settings)
    cell.follower.positions = cell.follower.positions + 0.1 * np.eye(7)[3]
    cell.clock.advance(PERIOD_S)
    with pytest.raises(ArmNotReadyError, match="joint4 moved by 0.1000"):
        cell.stream.take_over(successor, cell.follower.state())
    assert cell.stream.tick(cell.follower.state()).command is None


def test_feedback_that_stops_is_a_smooth_stop(
    cell: Cell, arm: ArmModel, settings: ExecutorSettings
) -> None:
    cell.start(long_way(arm))
    cell.run(1.6)
    last = cell.follower.state()
    cell.feedback = lambda _: last
    assert cell.until_noticed() <= settings.stale_after_s + 2 * PERIOD_S + 1e-9
    cell.check(StaleFeedbackError)


@pytest.mark.parametrize("step_s", [1.0, -1.0])
def test_a_wall_clock_that_steps_by_a_second_changes_nothing(
    cell: Cell, arm: ArmModel, step_s: float
) -> None:
    """Even when the newest feedback is from before the step and comes once more after it."""
    cell.start(long_way(arm))
    cell.run(1.6)
    before = cell.follower.state()
    cell.clock.step_ns = seconds_to_ns(step_s)
    cell.feedback = lambda _: before
    cell.run(2 * PERIOD_S)
    cell.feedback = lambda state: state
    cell.run(6.0)
    assert cell.stream.status is Status.DONE
    cell.check(None)
    _, sent = cell.follower.sent
    assert np.allclose(sent[-1], long_way(arm)[-1])


def test_a_machine_whose_clock_is_a_second_off_is_stale(cell: Cell, arm: ArmModel) -> None:
    """Not a step but a difference: the driver's stamps are not believed."""

    def behind(state: JointState | None) -> JointState | None:
        return state and replace(state, stamp_ns=state.stamp_ns - 10**9)

    cell.feedback = behind
    with pytest.raises(StaleFeedbackError, match="1.000 s old"):
        cell.start(long_way(arm))


def test_a_blocked_arm_is_a_smooth_stop(
    cell: Cell, arm: ArmModel, settings: ExecutorSettings
) -> None:
    cell.start(long_way(arm))
    cell.run(0.5)
    cell.follower.lag_s = 1e6
    cell.until_noticed(3.0)
    stuck = cell.follower.positions[0]
    away = abs(cell.follower.sent[1][-1, 0] - stuck)
    assert away <= settings.path_tolerance_rad + 2 * PERIOD_S * arm.max_velocity[0]
    cell.check(PathToleranceError)


def test_a_tip_that_leaves_its_box_is_a_smooth_stop(arm: ArmModel) -> None:
    """The path is inside; what the arm does is not."""
    farthest_m = float(arm.tip_positions(long_way(arm))[:, 1].max())
    narrow = ExecutorSettings(workspace_upper_m=(0.8, farthest_m + 0.01, 0.9))
    cell = Cell(arm, narrow)
    cell.start(long_way(arm))
    cell.run(3.0)

    def pushed(state: JointState | None) -> JointState | None:
        return state and replace(state, positions=state.positions + 0.25 * np.eye(7)[0])

    cell.feedback = pushed
    assert cell.until_noticed() <= 2 * PERIOD_S
    cell.check(WorkspaceError)


def test_a_path_out_of_the_box_is_refused(arm: ArmModel) -> None:
    cell = Cell(arm, ExecutorSettings(workspace_upper_m=(0.8, 0.1, 0.9)))
    refused(cell, long_way(arm), TrajectoryError.WORKSPACE)


@pytest.mark.parametrize("when_s", [0.01, 0.2, 1.6, 3.0, 6.3])
def test_a_cancel_is_a_smooth_stop(cell: Cell, arm: ArmModel, when_s: float) -> None:
    cell.start(long_way(arm))
    cell.run(when_s)
    cell.stream.cancel()
    assert cell.until_noticed() <= 2 * PERIOD_S
    cell.check(CancelledError)


def test_a_stall_goes_on_from_rest_and_a_long_one_holds(
    cell: Cell, arm: ArmModel, settings: ExecutorSettings
) -> None:
    """The driver has held at the last set-point by itself: nothing steps from there."""
    cell.start(long_way(arm))
    cell.run(1.6)
    at = cell.follower.sent[1][-1]
    cell.clock.advance(0.5)
    cell.run(PERIOD_S)
    assert np.allclose(cell.follower.sent[1][-1], at, atol=1e-12)
    cell.run(0.5)
    assert cell.stream.status is Status.RUNNING
    at = cell.follower.sent[1][-1]
    cell.clock.advance(settings.give_up_after_s + 0.1)
    cell.run(PERIOD_S)
    assert cell.stream.status.value == "aborted"
    assert np.allclose(cell.follower.sent[1][-1], at, atol=1e-12)
    assert isinstance(cell.stream.report().error, ExecutionError)


def test_a_bad_goal_on_the_way_changes_nothing(cell: Cell, arm: ArmModel) -> None:
    cell.start(long_way(arm))
    cell.run(2.0)
    bad = smooth_points(arm, 1)
    bad[5, 5] = np.inf
    with pytest.raises(TrajectoryError):
        cell.start(bad)
    cell.run(6.0)
    assert cell.stream.status is Status.DONE
    cell.check(None)
