"""A goal keeps its times: nothing is reached before it was asked for, whatever leads in."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import ActionTrajectory
from mvista_core.timing import ManualClock
from mvista_executor.check import ordered_points
from mvista_executor.in_process import execute_in_process
from mvista_executor.limit import pieces
from mvista_executor.motion import MotionState
from mvista_executor.plan import prepare
from mvista_executor.report import Status
from mvista_executor.stream import ExecutionStream
from tests.executor.rig import FollowerArm, assert_within_limits, smooth_points, trajectory_of

pytestmark = pytest.mark.slow

ROUNDING_S = 1e-6


def one_point(arm: ArmModel, away: float, seconds: float, joint: int = 0) -> ActionTrajectory:
    points = arm.home[None] + away * np.eye(7)[joint]
    return trajectory_of(arm, points, np.array([seconds]))


@pytest.mark.parametrize(("away", "joint"), [(0.2, 0), (0.049, 0), (0.0, 0), (0.03, 6)])
def test_one_point_far_or_near_takes_the_time_it_was_given(
    arm: ArmModel, settings: ExecutorSettings, away: float, joint: int
) -> None:
    """0.2 rad asked in 10 s: a two-point plan of a planner, its first point being the start."""
    clock = ManualClock(10**10)
    follower = FollowerArm(arm, clock, arm.home)
    trajectory = one_point(arm, away, 10.0, joint)
    report = execute_in_process(follower, trajectory, arm, clock, settings)
    assert report.status is Status.DONE
    times_s, sent = follower.sent
    assert_within_limits(arm, times_s, sent)
    if away:
        arrived_s = times_s[np.argmax(np.abs(sent[:, joint] - arm.home[joint]) > 0.99 * away)]
        assert 8.0 < arrived_s - times_s[0] <= 10.5
    assert report.plan.duration_s >= 10.0 - ROUNDING_S


@given(
    seed=st.integers(0, 10**6),
    away=st.floats(0.0, 0.45),
    first_s=st.floats(0.05, 20.0),
    gap_s=st.floats(0.07, 0.5),
    count=st.integers(1, 12),
    moving=st.booleans(),
)
def test_no_point_is_due_before_it_was_asked_for(
    arm: ArmModel,
    settings: ExecutorSettings,
    seed: int,
    away: float,
    first_s: float,
    gap_s: float,
    count: int,
    moving: bool,
) -> None:
    points = smooth_points(arm, seed, count=count, reach=0.3) + away * np.eye(7)[0]
    times_s = np.asarray(first_s + gap_s * np.arange(count), dtype=np.float64)
    velocity = 0.3 * np.eye(7)[3] if moving else np.zeros(7)
    start = MotionState(arm.home, velocity, np.zeros(7))
    try:
        plan = prepare(trajectory_of(arm, points, times_s), start, arm, settings)
    except TrajectoryError as error:
        assert error.reason != TrajectoryError.PLANNING_FAILED
        return
    assert plan.duration_s >= times_s[-1] - ROUNDING_S
    if plan.approach_s:
        assert plan.lead_in_s >= first_s - ROUNDING_S


def test_an_approach_that_stalls_is_not_made_up_for(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """What is left of it takes the time that was left, and no less."""
    clock = ManualClock(10**10)
    follower = FollowerArm(arm, clock, arm.home)
    stream = ExecutionStream(arm, settings, clock)
    stream.start(one_point(arm, 0.3, 8.0), follower.state())
    began_s = clock.monotonic_ns() / 1e9
    stalled = False
    while not stream.status.final:
        tick = stream.tick(follower.state())
        if tick.command is not None:
            follower.send(tick.command)
        now_s = clock.monotonic_ns() / 1e9 - began_s
        clock.advance(0.3 if not stalled and now_s > 2.0 else 0.005)
        stalled = stalled or now_s > 2.0
    assert stream.recording.pauses == 1
    times_s, sent = follower.sent
    arrived_s = times_s[np.argmax(sent[:, 0] - arm.home[0] > 0.299)] - began_s
    assert arrived_s > 7.0


@pytest.mark.parametrize(
    ("times_s", "count"), [((0.5, 300.5), 2), ((0.5, 2.0**31), 2), (None, 5001), (None, 100_000)]
)
def test_too_long_or_too_many_is_refused_with_a_number(
    arm: ArmModel, settings: ExecutorSettings, times_s: tuple[float, ...] | None, count: int
) -> None:
    points = np.tile(arm.home, (count, 1))
    times = np.arange(1, count + 1) / 1000.0 if times_s is None else np.array(times_s)
    with pytest.raises(TrajectoryError, match=r"\[50\.17\].*at most (300|5000)"):
        prepare(trajectory_of(arm, points, times), MotionState.rest(arm.home), arm, settings)


def test_what_is_not_a_number_on_the_curve_is_refused(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """Points so close that the cubic between them overflows."""
    points = np.tile(arm.home, (4, 1)) + 1e-3 * np.arange(4)[:, None] * np.eye(7)[0]
    points[2] = points[1]
    times_s = np.array([1.0, 2.0, 2.0 + 1e-120, 3.0])
    trajectory = trajectory_of(arm, points, np.array([1.0, 2.0, np.nextafter(2.0, 3.0), 3.0]))
    assert times_s[1] == times_s[2]
    ordered_points(trajectory, arm, arm.home)
    try:
        plan = prepare(trajectory, MotionState.rest(arm.home), arm, settings)
    except TrajectoryError:
        return
    sampled = np.array([plan.at(t).positions for t in np.linspace(0.0, plan.duration_s, 2000)])
    assert np.isfinite(sampled).all()


def test_pieces_leave_out_no_step() -> None:
    for duration_s in (0.0, 0.0005, 4.999, 5.0, 5.001, 17.3):
        found = list(pieces(duration_s, 0.001))
        steps = np.concatenate([np.diff(piece) for piece in found])
        assert found[0][0] == 0.0 and found[-1][-1] == pytest.approx(duration_s)
        assert steps.max() <= 0.001 + 1e-12 and steps.sum() == pytest.approx(duration_s)
        assert all(a[-1] == b[0] for a, b in itertools.pairwise(found))


def test_a_long_way_is_checked_to_its_end(arm: ArmModel) -> None:
    """The tip leaves the box only in the last of many pieces."""
    narrow = ExecutorSettings(workspace_upper_m=(0.8, 0.1, 0.9))
    count = 1500
    points = np.tile(arm.home, (count, 1))
    points[-20:, 0] += 0.5 * (1 - np.cos(np.arange(1, 21) / 20 * np.pi))
    times_s = np.asarray(np.arange(1, count + 1) * 0.15, dtype=np.float64)
    with pytest.raises(TrajectoryError, match=r"\[50\.13\] 22\d"):
        prepare(trajectory_of(arm, points, times_s), MotionState.rest(arm.home), arm, narrow)
    wide = replace(narrow, workspace_upper_m=(0.8, 0.65, 0.9))
    prepare(trajectory_of(arm, points, times_s), MotionState.rest(arm.home), arm, wide)
