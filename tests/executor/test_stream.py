"""Laws of what is really sent, over random trajectories, uneven ticks, cancels and silences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    CancelledError,
    ExecutionError,
    GoalToleranceError,
    PathToleranceError,
    StaleFeedbackError,
    TrajectoryError,
)
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.timing import ManualClock
from mvista_executor.in_process import execute_in_process
from mvista_executor.report import Status, Tick, Tolerances
from mvista_executor.stream import ExecutionStream
from tests.executor.rig import (
    FollowerArm,
    assert_within_limits,
    assert_within_limits_between_stalls,
    smooth_points,
    trajectory_of,
)

pytestmark = pytest.mark.slow

seeds = st.integers(0, 2**31 - 1)
few = run(max_examples=8, deadline=None, derandomize=True)


def _lively(arm: ArmModel, seed: int, count: int = 36) -> np.ndarray:
    """Smooth points with noise of a learned planner's size: stretching and the limits both bite."""
    random = np.random.default_rng(seed)
    points = smooth_points(arm, seed, count=count, reach=random.uniform(0.1, 0.9))
    points += random.normal(0, 0.001, points.shape) * (np.arange(7) != 6)
    points[:, 0] += random.uniform(-0.3, 0.3)
    return np.clip(points, arm.lower, arm.upper)


def _set_up(arm: ArmModel) -> tuple[ManualClock, FollowerArm]:
    clock = ManualClock(10**9)
    return clock, FollowerArm(arm, clock, arm.home)


@few
@given(seed=seeds)
def test_sent_is_within_limits_starts_measured_ends_at_rest(
    arm: ArmModel, settings: ExecutorSettings, seed: int
) -> None:
    clock, follower = _set_up(arm)
    points = _lively(arm, seed)
    try:
        report = execute_in_process(follower, trajectory_of(arm, points), arm, clock, settings)
    except TrajectoryError:
        assert follower.commands == []
        return
    times_s, sent = follower.sent
    assert report.status is Status.DONE and report.error is None
    assert np.array_equal(sent[0], arm.home)
    assert np.array_equal(sent[-1], points[-1])
    assert not follower.commands[-1][1].velocities.any()
    assert_within_limits(arm, times_s, sent)
    assert np.array_equal(report.sent, sent)
    assert report.max_tracking_error_rad < 0.1


@few
@given(seed=seeds)
def test_uneven_ticks_sample_the_same_curve(
    arm: ArmModel, settings: ExecutorSettings, seed: int
) -> None:
    """Splitting or delaying ticks (up to the stall limit) only changes where it is sampled."""
    random = np.random.default_rng(seed)
    clock, follower = _set_up(arm)
    stream = ExecutionStream(arm, settings, clock)
    points = smooth_points(arm, seed, count=20, reach=0.3)
    plan = stream.start(trajectory_of(arm, points), follower.state())
    begin_s = clock.monotonic_ns() / 1e9
    while not stream.status.final:
        tick = stream.tick(follower.state())
        assert tick.command is not None
        follower.send(tick.command)
        elapsed_s = clock.monotonic_ns() / 1e9 - begin_s
        assert np.allclose(tick.command.positions, plan.at(elapsed_s).positions, atol=1e-9)
        clock.advance(float(random.choice([0.0005, 0.0025, 0.005, 0.012, 0.045])))
    assert stream.status is Status.DONE
    assert_within_limits(arm, *follower.sent)


@few
@given(seed=seeds, when=st.floats(0.0, 1.1))
def test_cancel_stops_smoothly_and_holds(
    arm: ArmModel, settings: ExecutorSettings, seed: int, when: float
) -> None:
    clock, follower = _set_up(arm)
    points = smooth_points(arm, seed, count=30, reach=0.8)
    statuses: list[Status] = []

    def progress(status: str, fraction: float) -> bool:
        statuses.append(Status(status))
        return fraction < when

    report = execute_in_process(
        follower, trajectory_of(arm, points), arm, clock, settings, progress=progress
    )
    times_s, sent = follower.sent
    assert_within_limits(arm, times_s, sent)
    assert not follower.commands[-1][1].velocities.any()
    if when <= 1.0:
        assert report.status is Status.ABORTED and isinstance(report.error, CancelledError)
    else:
        assert report.status is Status.DONE
    assert len(statuses) == len(sent)


@few
@given(seed=seeds, silent_s=st.floats(0.0, 2.5))
def test_stale_feedback_stops_within_two_periods_without_a_jump(
    arm: ArmModel, settings: ExecutorSettings, seed: int, silent_s: float
) -> None:
    clock, follower = _set_up(arm)
    follower.silent_after_s = 1.0 + silent_s
    points = smooth_points(arm, seed, count=45, reach=0.8)
    ticks: list[tuple[float, Tick]] = []
    report = execute_in_process(
        follower,
        trajectory_of(arm, points),
        arm,
        clock,
        settings,
        on_tick=lambda tick: ticks.append((clock.monotonic_ns() / 1e9, tick)),
    )
    assert_within_limits(arm, *follower.sent)
    assert report.status is Status.ABORTED and isinstance(report.error, StaleFeedbackError)
    stopping = [at for at, tick in ticks if tick.error is not None]
    detected_s = follower.silent_after_s + settings.stale_after_s
    assert stopping[0] <= detected_s + 2 * settings.period_s + 1e-9
    assert not follower.commands[-1][1].velocities.any()


def test_hold_goes_on_being_sent_and_a_new_start_works(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    clock, follower = _set_up(arm)
    stream = ExecutionStream(arm, settings, clock)
    points = smooth_points(arm, 1, count=15, reach=0.2)
    for _ in range(2):
        stream.start(trajectory_of(arm, points), follower.state())
        while not stream.status.final:
            tick = stream.tick(follower.state())
            assert tick.command is not None
            follower.send(tick.command)
            clock.advance(0.005)
        for wait_s in (0.005, 0.4, 3.0):
            clock.advance(wait_s)
            tick = stream.tick(follower.state())
            assert tick.command is not None and tick.status is Status.DONE
            assert np.array_equal(tick.command.positions, points[-1])
        points = points[::-1].copy()


@few
@given(seed=seeds, gap=st.sampled_from([0.0, 0.3]))
def test_after_a_stall_it_goes_on_from_rest_at_the_last_set_point(
    arm: ArmModel, settings: ExecutorSettings, seed: int, gap: float
) -> None:
    """Between stalls the limits hold, across one the set-point does not move, and it arrives."""
    random = np.random.default_rng(seed)
    clock, follower = _set_up(arm)
    stream = ExecutionStream(arm, settings, clock)
    points = smooth_points(arm, seed, count=30, reach=0.3)
    points[:, 0] += gap
    stream.start(trajectory_of(arm, points), follower.state())
    while not stream.status.final:
        tick = stream.tick(follower.state())
        assert tick.command is not None
        follower.send(tick.command)
        clock.advance(float(random.uniform(0.06, 0.9)) if random.random() < 0.02 else 0.005)
    assert stream.status is Status.DONE
    times_s, sent = follower.sent
    assert np.allclose(sent[-1], points[-1])
    stalls = np.flatnonzero(np.diff(times_s) > settings.stall_after_s)
    moving = stalls[np.abs(sent[stalls] - points[-1]).max(axis=1) > 1e-9]
    assert stream.report().pauses == len(moving)
    assert_within_limits_between_stalls(arm, times_s, sent, settings.stall_after_s)


def test_suspended_for_long_it_gives_up_and_holds(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    for advance_s, silent in ((1.2, False), (0.3, True)):
        clock, follower = _set_up(arm)
        stream = ExecutionStream(arm, settings, clock)
        stream.start(trajectory_of(arm, smooth_points(arm, 1)), follower.state())
        for _ in range(300):
            before = stream.tick(follower.state())
            assert before.command is not None
            follower.send(before.command)
            clock.advance(0.005)
        follower.silent_after_s = 0.0 if silent else np.inf
        clock.advance(advance_s)
        after = stream.tick(follower.state())
        while not stream.status.final:
            clock.advance(0.005)
            after = stream.tick(follower.state())
        assert before.command is not None
        assert after.command is not None and after.status is Status.ABORTED
        assert isinstance(after.error, StaleFeedbackError if silent else ExecutionError)
        assert np.array_equal(after.command.positions, before.command.positions)
        assert not after.command.velocities.any()


def test_blocked_arm_stops_and_unreached_goal_is_told(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    points = np.tile(arm.home, (60, 1))
    points[:, 0] += np.linspace(0, 1.0, 60)
    for lag_s, tight, kind in (
        (1e6, settings, PathToleranceError),
        (1e6, replace(settings, path_tolerance_rad=3.0), GoalToleranceError),
    ):
        clock, follower = _set_up(arm)
        follower.lag_s = lag_s
        report = execute_in_process(follower, trajectory_of(arm, points), arm, clock, tight)
        assert report.status is Status.ABORTED and isinstance(report.error, kind)
        assert_within_limits(arm, *follower.sent)


@pytest.mark.parametrize(("short_rad", "reached"), [(0.1, True), (0.2, False)])
def test_a_plan_may_end_where_the_arm_presses_on_something_but_not_far_from_its_end(
    arm: ArmModel, settings: ExecutorSettings, short_rad: float, reached: bool
) -> None:
    points = np.tile(arm.home, (60, 1))
    points[:, 0] += np.linspace(0, short_rad, 60)
    usual = Tolerances.default(arm, settings)
    for tolerances, done in ((usual, False), (usual.of_plan(arm, settings), reached)):
        clock, follower = _set_up(arm)
        follower.lag_s = 1e6
        report = execute_in_process(
            follower, trajectory_of(arm, points), arm, clock, settings, tolerances
        )
        assert report.status is (Status.DONE if done else Status.ABORTED)
        assert done or isinstance(report.error, GoalToleranceError)
        # It is waited for all the same: an arm that only lags has its second.
        assert report.times_s[-1] > report.plan.duration_s + settings.goal_time_s
        assert_within_limits(arm, *follower.sent)


def test_brake_near_a_limit_stays_inside(arm: ArmModel, settings: ExecutorSettings) -> None:
    """Cancel at every tenth tick of a fast move that ends exactly at a joint's limit."""
    times_s = np.arange(1, 31) / 15.0
    points = np.tile(arm.home, (30, 1))
    points[:, 4] = (
        arm.home[4]
        - 0.6
        + (arm.upper[4] - arm.home[4] + 0.6) * 0.5 * (1 - np.cos(np.pi * times_s / 2.0))
    )
    start = arm.home.copy()
    start[4] -= 0.6
    for stop_at in range(0, 400, 23):
        clock = ManualClock(10**9)
        follower = FollowerArm(arm, clock, start)
        count = iter(range(10**6))
        execute_in_process(
            follower,
            trajectory_of(arm, points),
            arm,
            clock,
            settings,
            progress=lambda _s, _f, c=count, n=stop_at: next(c) != n,  # type: ignore[misc]
        )
        assert_within_limits(arm, *follower.sent)
