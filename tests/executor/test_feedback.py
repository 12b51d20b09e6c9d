"""Which point of a goal its feedback names, over plans that approach, wait and are slowed."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.timing import ManualClock
from mvista_executor.action_messages import feedback_to_msg
from mvista_executor.stream import ExecutionStream
from tests.executor.rig import FollowerArm, smooth_points, trajectory_of


@pytest.mark.parametrize("offset_rad", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("haste", [1.0, 2.5])
def test_the_index_is_that_of_the_point_that_comes_next(
    arm: ArmModel, settings: ExecutorSettings, offset_rad: float, haste: float
) -> None:
    """Begun on the way, after an approach, and slowed down because the points are too fast."""
    points = smooth_points(arm, seed=5, count=24)
    asked = trajectory_of(arm, points, np.arange(1, 25) / 15.0 / haste)
    clock = ManualClock(10**9)
    start = np.clip(points[0] - offset_rad, arm.lower, arm.upper)
    follower = FollowerArm(arm, clock, start)
    stream = ExecutionStream(arm, settings, clock)
    stream.start(asked, follower.state())
    told: list[int] = []
    while not stream.status.final:
        tick = stream.tick(follower.state())
        if tick.command is None:
            continue
        follower.send(tick.command)
        feedback = feedback_to_msg(tick, asked.times_s, stream.recording)
        if told and feedback.index == told[-1] + 1:
            # It has just passed the point before: no other is as near.
            apart = np.abs(points - tick.command.positions).max(axis=1)
            assert abs(int(apart.argmin()) - told[-1]) <= 1
        told.append(feedback.index)
        assert feedback.multi_dof_index == 0
        clock.advance(0.005)
    assert told[0] == 0 and told[-1] == len(points) - 1
    assert set(np.diff(told)) <= {0, 1}, "never back, none left out"
