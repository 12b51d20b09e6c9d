"""What goes wrong between the moment a newer plan is taken and the instant that it was made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import PathToleranceError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_executor.motion import MotionState
from mvista_executor.plan import prepare
from mvista_executor.report import Status, Tolerances
from mvista_executor.successor import make_successor
from tests.executor.rig import assert_within_limits_between_stalls, smooth_points, trajectory_of
from tests.executor.test_splice import Running

pytestmark = pytest.mark.slow

AHEAD_S = 0.4
seeds = st.integers(0, 2**31 - 1)
few = run(max_examples=8, deadline=None, derandomize=True)


def _takes_over(
    cell: Running, seed: int, ahead_s: float, tolerances: Tolerances | None = None
) -> np.ndarray:
    """A goal runs, a second is taken `ahead_s` before it is due; its points."""
    arm, settings = cell.arm, cell.settings
    cell.start(smooth_points(arm, seed, count=40, reach=0.4))
    cell.tick(1.0)
    standing = cell.stream.standing(cell.follower.state(), ahead_s)
    assert standing.state is not None
    points = smooth_points(arm, seed + 1, count=30, reach=0.3)
    points = np.clip(points - points[0] + standing.state.positions, arm.lower, arm.upper)
    trajectory = trajectory_of(arm, points)
    successor = make_successor(trajectory, standing, arm, settings, tolerances)
    cell.stream.take_over(successor, cell.follower.state())
    return points


@few
@given(seed=seeds, before_s=st.floats(0.0, AHEAD_S - 0.01), stall_s=st.floats(0.06, 0.9))
def test_a_stall_before_the_take_over_delays_the_newer_goal_and_ends_nothing(
    arm: ArmModel, settings: ExecutorSettings, seed: int, before_s: float, stall_s: float
) -> None:
    """The old motion has stopped by itself: the newer curve begins from rest where it stands."""
    cell = Running(arm, settings)
    points = _takes_over(cell, seed, AHEAD_S)
    cell.tick(before_s)
    stalled_at, due_ns = len(cell.follower.commands), cell.stream._begin_ns
    cell.clock.advance(stall_s)
    cell.tick()
    assert cell.stream.status is Status.DONE, cell.stream.report().error
    assert cell.stream.report().pauses == 1
    times_s, sent = cell.follower.sent
    assert np.allclose(sent[-1], points[-1])
    assert_within_limits_between_stalls(arm, times_s, sent, settings.stall_after_s)
    moves = np.flatnonzero(np.diff(sent[stalled_at:], axis=0).any(axis=1))
    assert times_s[stalled_at + moves[0] + 1] * 1e9 >= due_ns, "not before it is due"


def test_the_older_motion_is_judged_by_its_own_tolerances(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """A narrow newer goal says nothing of how far the arm may lag until it begins."""
    tight = np.full(len(arm.joint_names), 1e-4)
    cell = Running(arm, settings)
    narrow = replace(Tolerances.default(arm, settings), path=tight)
    _takes_over(cell, 5, AHEAD_S, narrow)
    cell.tick(AHEAD_S - 2 * settings.period_s)
    before = cell.stream.report()
    assert before.status is Status.RUNNING and before.error is None
    cell.tick()
    after = cell.stream.report()
    assert after.status is Status.ABORTED and isinstance(after.error, PathToleranceError)


def test_a_way_back_that_leaves_the_box_is_refused(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    """The curve is inside, and so is where the arm stands: the straight way between is not."""
    reach_m = float(arm.tip_position(arm.home)[0])
    _, y, z = settings.workspace_upper_m
    boxed = replace(settings, workspace_upper_m=(0.95 * reach_m, y, z))
    aside, across = arm.home.copy(), arm.home.copy()
    aside[0], across[0] = 0.6, -0.6
    points = np.tile(across, (15, 1))
    points[:, 1] += np.linspace(0.0, 0.01, 15)
    plan = prepare(trajectory_of(arm, points), MotionState.rest(across), arm, boxed)
    plan.resumed(0.0, across, boxed)
    with pytest.raises(TrajectoryError, match=r"\[50\.13\]"):
        plan.resumed(0.0, aside, boxed)
