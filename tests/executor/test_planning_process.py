"""`PlanningProcess`: the same plans, made elsewhere; what goes wrong there ends one goal."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.errors import CancelledError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointState
from mvista_core.timing import SystemClock
from mvista_executor.motion import MotionState
from mvista_executor.planning_process import PlanningProcess
from mvista_executor.report import Tolerances
from mvista_executor.successor import Standing, make_successor
from tests.executor.rig import smooth_points, trajectory_of

pytestmark = pytest.mark.slow

CLOCK = SystemClock()


class _Bench:
    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self.arm, self.settings = arm, settings
        self.logged: list[str] = []
        self.process = PlanningProcess(arm, settings, CLOCK, self.logged.append)
        self.tolerances = Tolerances.default(arm, settings)
        self.measured = JointState(arm.joint_names, arm.home, np.zeros(7), 1)
        self.rest = Standing(0, None, None, None, self.measured)

    def plan(self, standing: Standing | None = None, seed: int = 1, going: bool = True):  # type: ignore[no-untyped-def]
        trajectory = trajectory_of(self.arm, smooth_points(self.arm, seed, count=40, reach=0.3))
        standing = standing or self.rest
        return self.process.plan(trajectory, standing, self.tolerances, lambda: going)

    def here(self, standing: Standing, seed: int = 1):  # type: ignore[no-untyped-def]
        trajectory = trajectory_of(self.arm, smooth_points(self.arm, seed, count=40, reach=0.3))
        return make_successor(trajectory, standing, self.arm, self.settings, self.tolerances)


@pytest.fixture
def bench(arm: ArmModel, settings: ExecutorSettings) -> Iterator[_Bench]:
    bench = _Bench(arm, settings)
    yield bench
    bench.process.stop()


def _same(bench: _Bench, standing: Standing) -> None:
    found, here = bench.plan(standing), bench.here(standing)
    assert found.standing is standing
    assert found.plan.duration_s == here.plan.duration_s
    for time_s in np.linspace(0.0, here.plan.duration_s, 50):
        assert np.array_equal(found.plan.at(time_s).positions, here.plan.at(time_s).positions)


def test_a_plan_is_the_one_that_would_be_made_here(bench: _Bench) -> None:
    """From rest, with an approach, and from a motion with a splice and a stop."""
    _same(bench, bench.rest)
    away = replace(bench.measured, positions=bench.arm.home + 0.2 * np.eye(7)[0])
    _same(bench, replace(bench.rest, measured=away))
    moving = MotionState(bench.arm.home, 0.2 * np.eye(7)[0], np.zeros(7))
    _same(bench, replace(bench.rest, state=moving))
    fast = MotionState(bench.arm.home + 0.2 * np.eye(7)[0], 1.5 * np.eye(7)[0], np.zeros(7))
    _same(bench, replace(bench.rest, state=fast))


def test_a_refusal_comes_back_with_its_number(bench: _Bench) -> None:
    far = replace(bench.measured, positions=bench.arm.home + 0.6 * np.eye(7)[0])
    with pytest.raises(TrajectoryError, match=r"\[50\.9\]") as caught:
        bench.plan(replace(bench.rest, measured=far))
    assert caught.value.reason == TrajectoryError.START_TOO_FAR
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.reason, str(again)) == (caught.value.reason, str(caught.value))


def test_a_surprise_is_a_refusal_told_on_the_log(bench: _Bench) -> None:
    nonsense = replace(bench.rest, measured=None)  # type: ignore[arg-type]
    with pytest.raises(TrajectoryError, match=r"\[50\.18\].*AttributeError"):
        bench.plan(nonsense)
    assert "Traceback" in bench.logged[0]
    bench.plan()


def test_a_process_that_dies_or_hangs_ends_one_goal(bench: _Bench) -> None:
    bench.plan()
    died = bench.process.pid
    os.kill(died, signal.SIGKILL)
    with pytest.raises(TrajectoryError, match=r"\[50\.18\]"):
        bench.plan()
    bench.plan()
    assert bench.process.pid != died
    bench.process._within_s = 0.1
    os.kill(bench.process.pid, signal.SIGSTOP)
    with pytest.raises(TrajectoryError, match=r"\[50\.18\].*longer than 0\.1 s"):
        bench.plan()
    bench.process._within_s = 20.0
    bench.plan()


def test_a_plan_that_is_called_off_is_not_mistaken_for_the_next(bench: _Bench) -> None:
    bench.plan()
    os.kill(bench.process.pid, signal.SIGSTOP)
    with pytest.raises(CancelledError):
        bench.plan(seed=2, going=False)
    os.kill(bench.process.pid, signal.SIGCONT)
    assert bench.plan().plan.duration_s == bench.here(bench.rest).plan.duration_s


def test_long_plans_that_are_called_off_do_not_block_the_next(bench: _Bench) -> None:
    """Question and answer are each larger than a socket's buffer: unread, both ends would wait."""
    times_s = np.arange(1, 5001, dtype=np.float64) * 0.05
    points = bench.arm.home + 0.1 * np.sin(times_s / 10.0)[:, None] * np.eye(7)[0]
    trajectory = trajectory_of(bench.arm, points, times_s)
    assert len(pickle.dumps(trajectory)) > 250_000
    for _ in range(2):
        with pytest.raises(CancelledError):
            bench.process.plan(trajectory, bench.rest, bench.tolerances, lambda: False)
    found = bench.process.plan(trajectory, bench.rest, bench.tolerances, lambda: True)
    assert len(pickle.dumps(found.plan)) > 250_000
    assert not bench.logged, "no process was given up"


def test_it_ends_with_the_process_that_asks(bench: _Bench) -> None:
    bench.plan()
    process = bench.process._process
    bench.process._pipe.close()
    assert process.wait(5.0) == 0
