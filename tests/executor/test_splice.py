"""Laws of taking over: no step in position, velocity or acceleration, whenever it happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import BusyError, PreemptedError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointState
from mvista_core.timing import ManualClock
from mvista_executor.motion import Why
from mvista_executor.report import Status
from mvista_executor.stream import ExecutionStream
from mvista_executor.successor import make_successor
from tests.executor.rig import FollowerArm, assert_within_limits, smooth_points, trajectory_of

pytestmark = pytest.mark.slow

seeds = st.integers(0, 2**31 - 1)
few = run(max_examples=12, deadline=None, derandomize=True)


class Running:
    """A stream with an arm, ticked at its rate."""

    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self.arm, self.settings = arm, settings
        self.clock = ManualClock(10**9)
        self.follower = FollowerArm(arm, self.clock, arm.home)
        self.stream = ExecutionStream(arm, settings, self.clock)
        self.why: list[tuple[Why, ...]] = []

    def tick(self, seconds: float = 1e9) -> None:
        """Tick for a while, at most until it rests."""
        for _ in range(int(min(seconds, 60.0) / self.settings.period_s)):
            if self.stream.status.final:
                return
            tick = self.stream.tick(self.follower.state())
            assert tick.command is not None
            self.why.append(tick.why)
            self.follower.send(tick.command)
            self.clock.advance(self.settings.period_s)

    def start(self, points: np.ndarray) -> None:
        self.stream.start(trajectory_of(self.arm, points), self.follower.state())


@few
@given(seed=seeds, when=st.floats(0.01, 3.2), offset=st.sampled_from([0.0, 0.03, 0.2]))
def test_a_takeover_keeps_every_limit_and_arrives(
    arm: ArmModel, settings: ExecutorSettings, seed: int, when: float, offset: float
) -> None:
    """What is sent over both trajectories is one curve within velocity, acceleration and jerk."""
    cell = Running(arm, settings)
    first, second = (smooth_points(arm, seed + i, count=40, reach=0.4) for i in (0, 1))
    cell.start(first)
    cell.tick(when)
    assert cell.stream.status is not Status.ABORTED
    old = cell.stream.recording
    second = second - second[0] + cell.follower.sent[1][-1] + offset * np.eye(7)[0]
    cell.start(np.clip(second, arm.lower, arm.upper))
    cell.tick()
    assert cell.stream.status is Status.DONE, cell.stream.report().error
    times_s, sent = cell.follower.sent
    assert_within_limits(arm, times_s, sent)
    assert np.allclose(sent[-1], np.clip(second, arm.lower, arm.upper)[-1])
    if when < 2.0:
        assert old.status is Status.ABORTED and isinstance(old.error, PreemptedError)


@few
@given(seed=seeds, ahead=st.floats(0.02, 0.4))
def test_planned_ahead_it_is_the_old_curve_until_then(
    arm: ArmModel, settings: ExecutorSettings, seed: int, ahead: float
) -> None:
    cell = Running(arm, settings)
    cell.start(smooth_points(arm, seed, count=40, reach=0.4))
    cell.tick(1.0)
    plan = cell.stream._plan
    assert plan is not None
    state = cell.follower.state()
    standing = cell.stream.standing(state, ahead)
    assert standing.state is not None
    points = np.clip(standing.state.positions + np.zeros((30, 7)), arm.lower, arm.upper)
    successor = make_successor(trajectory_of(arm, points), standing, arm, settings)
    cell.clock.advance(settings.period_s)
    cell.stream.take_over(successor, cell.follower.state())
    count = len(cell.follower.commands)
    cell.tick(ahead * 0.9)
    for time_s, command in cell.follower.commands[count:]:
        if time_s * 1e9 < standing.at_ns:
            begun_s = cell.follower.commands[0][0]
            assert np.allclose(command.positions, plan.at(time_s - begun_s).positions, atol=1e-9)
    cell.tick()
    assert cell.stream.status is Status.DONE
    assert any(Why.SPLICE in why or Why.STOP in why for why in cell.why)
    assert_within_limits(arm, *cell.follower.sent)


def test_a_bad_successor_leaves_the_running_one_alone(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    cell = Running(arm, settings)
    points = smooth_points(arm, 3, count=30, reach=0.3)
    cell.start(points)
    cell.tick(0.5)
    bad = points.copy()
    bad[3, 2] = np.nan
    with pytest.raises(TrajectoryError, match=r"\[50\.1\]"):
        cell.start(bad)
    cell.tick()
    assert cell.stream.status is Status.DONE
    assert np.allclose(cell.follower.sent[1][-1], points[-1])


def test_what_was_planned_for_another_motion_or_time_is_refused(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    cell = Running(arm, settings)
    points = smooth_points(arm, 3, count=30, reach=0.3)
    cell.start(points)
    cell.tick(0.5)
    standing = cell.stream.standing(cell.follower.state(), 0.1)
    assert standing.state is not None
    here = np.tile(standing.state.positions, (20, 1))
    successor = make_successor(trajectory_of(arm, here), standing, arm, settings)
    cell.tick(0.12)
    with pytest.raises(BusyError, match="past"):
        cell.stream.take_over(successor, cell.follower.state())
    cell.stream.cancel()
    cell.tick(0.01)
    with pytest.raises(BusyError, match="stopping"):
        cell.start(here)


def sagging(state: JointState | None, below: np.ndarray) -> JointState | None:
    return None if state is None else replace(state, positions=state.positions - below)


def test_a_new_goal_after_one_begins_at_the_set_point_that_is_held(
    arm: ArmModel, settings: ExecutorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arm sags a little below its set-point: what is sent still does not step."""
    cell = Running(arm, settings)
    points = smooth_points(arm, 3, count=20, reach=0.2)
    cell.start(points)
    cell.tick()
    true_state = cell.follower.state
    monkeypatch.setattr(cell.follower, "state", lambda: sagging(true_state(), 0.01 * np.eye(7)[1]))
    cell.start(points[::-1].copy())
    cell.tick()
    assert cell.stream.status is Status.DONE
    assert_within_limits(arm, *cell.follower.sent)
