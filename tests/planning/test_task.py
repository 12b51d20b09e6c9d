"""The task's state machine: order, outcomes, durations, the gate, one at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import (
    BusyError,
    CancelledError,
    ExecutionError,
    GateError,
    InstructionError,
    MvistaError,
    OperatorRefusedError,
    TrajectoryError,
)
from mvista_core.records import Doubt
from mvista_core.timing import ManualClock
from mvista_planning.task import GateLimits, Task, TaskReport, TaskRequest
from tests.planning.bench import Steps, make_plan

LIMITS = GateLimits(plan_age_s=60.0)
STAGES = ["imagine", "infer", "gate", "confirm", "execute"]


def request(confirm: bool = False) -> TaskRequest:
    return TaskRequest("touch the red cube", "cam1", ("cam0", "cam2"), 3, confirm)


def go_on(stage: str, fraction: float) -> bool:
    return True


def run(steps: Steps, confirm: bool = False) -> TaskReport:
    return Task(steps, LIMITS, steps.clock).run(request(confirm), go_on)


def names(report: TaskReport) -> list[str]:
    return [stage.stage.value for stage in report.stages]


def test_a_task_goes_through_every_stage_and_tells_how_long_each_took() -> None:
    steps = Steps(ManualClock(), seconds={"imagine": 4.0, "infer": 9.0, "execute": 6.4})
    report = run(steps)
    assert report.error is None and report.imagined is not None
    assert report.imagined.rollout_id == "rollout of touch the red cube"
    assert names(report) == ["imagine", "infer", "gate", "execute"]
    assert [stage.duration_s for stage in report.stages] == pytest.approx([4.0, 9.0, 0.0, 6.4])
    assert steps.executed == [steps.plan.refined]


def test_the_operator_is_asked_between_the_gate_and_the_arm() -> None:
    assert names(run(Steps(ManualClock()), confirm=True)) == STAGES


@given(failing=st.sampled_from(["imagine", "infer", "confirm", "execute"]))
def test_a_failed_stage_ends_the_task_and_is_the_last_one_reported(failing: str) -> None:
    error = {"imagine": InstructionError("x"), "confirm": OperatorRefusedError("no")}.get(
        failing, ExecutionError("x")
    )
    steps = Steps(ManualClock(), errors={failing: error})
    report = run(steps, confirm=True)
    assert report.error is error
    assert report.stages[-1].error is error and names(report)[-1] == failing
    assert all(stage.error is None for stage in report.stages[:-1])
    assert names(report) == STAGES[: STAGES.index(failing) + 1]
    assert not steps.executed


@given(stage=st.sampled_from(STAGES), at_entry=st.booleans())
def test_a_cancel_at_any_stage_ends_the_task_there(stage: str, at_entry: bool) -> None:
    def progress(told: str, fraction: float) -> bool:
        return told != stage or (fraction == 0.0 and not at_entry)

    steps = Steps(ManualClock())
    report = Task(steps, LIMITS, steps.clock).run(request(confirm=True), progress)
    if stage == "gate" and not at_entry:
        return  # it takes no time: nothing asks in its middle
    assert isinstance(report.error, CancelledError)
    assert names(report)[-1] == stage
    assert not steps.executed


def refused_by_the_gate(steps: Steps, confirm: bool = False) -> MvistaError:
    report = run(steps, confirm)
    assert report.error is not None and not steps.executed and "execute" not in steps.calls
    assert report.plan is not None, "the refused plan is there to be looked at"
    return report.error


def test_the_gate_refuses_a_future_that_is_doubted_with_the_measure_its_value_and_its_limit() -> (
    None
):
    doubts = (Doubt("goal_gap_m", 0.041, 0.03), Doubt("outside_m", 0.0, 0.02))
    doubted = dataclasses.replace(make_plan(), doubts=doubts)
    error = refused_by_the_gate(Steps(ManualClock(), doubted))
    assert isinstance(error, GateError) and error.reason == GateError.GOAL
    assert "goal_gap_m 0.0410 m, at most 0.0300" in str(error)
    sure = (Doubt("goal_gap_m", 0.03, 0.03), Doubt("cross_view_m", np.nan, 0.02))
    assert run(Steps(ManualClock(), dataclasses.replace(make_plan(), doubts=sure))).error is None


def test_the_gate_refuses_an_old_plan_also_after_a_slow_operator() -> None:
    slow = Steps(ManualClock(), seconds={"infer": 60.0})
    error = refused_by_the_gate(slow)
    assert isinstance(error, GateError) and error.reason == GateError.TOO_OLD
    pondering = Steps(ManualClock(), seconds={"confirm": 59.0})
    error = refused_by_the_gate(pondering, confirm=True)
    assert isinstance(error, GateError) and "61.0 s old" in str(error)


def test_the_gate_looks_at_the_age_of_the_frames_not_of_the_request() -> None:
    """The planner was quick, but what it saw was old."""
    old = Steps(ManualClock(), observation_age_s=59.5)
    error = refused_by_the_gate(old)
    assert isinstance(error, GateError) and "60.5 s old by the oldest frame" in str(error)
    unknown = refused_by_the_gate(Steps(ManualClock(), observation_age_s=np.nan))
    assert isinstance(unknown, GateError)
    fresh = Steps(ManualClock(), observation_age_s=57.0)
    assert run(fresh).error is None and fresh.executed_age_s == [pytest.approx(58.0)]


def test_a_planner_that_says_its_frames_are_younger_than_the_request_is_not_believed() -> None:
    steps = Steps(ManualClock(), seconds={"imagine": 4.0, "infer": 5.0}, observation_age_s=-3600.0)
    assert run(steps).error is None and steps.executed_age_s == [pytest.approx(9.0)]


@given(row=st.integers(0, 4), column=st.integers(0, 2), value=st.sampled_from([np.nan, np.inf]))
def test_the_gate_refuses_a_trajectory_that_is_not_finite(
    row: int, column: int, value: float
) -> None:
    plan = make_plan()
    positions = plan.refined.positions.copy()
    positions[row, column] = value
    broken = dataclasses.replace(plan.refined, positions=positions)
    error = refused_by_the_gate(Steps(ManualClock(), dataclasses.replace(plan, refined=broken)))
    assert isinstance(error, TrajectoryError) and error.reason == TrajectoryError.NOT_FINITE


def test_a_second_task_is_refused_while_one_runs_and_the_first_goes_on() -> None:
    steps = Steps(ManualClock())
    task = Task(steps, LIMITS, steps.clock)
    refused: list[str] = []

    def progress(stage: str, fraction: float) -> bool:
        assert task.stage is not None and task.stage.value == stage
        with pytest.raises(BusyError):
            task.run(request(), go_on)
        refused.append(stage)
        return True

    assert task.run(request(), progress).error is None
    assert set(refused) == {"imagine", "infer", "gate", "execute"}
    assert task.stage is None
    assert task.run(request(), go_on).error is None
