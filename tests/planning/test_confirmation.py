"""The operator's answer, the relay of progress and the planner that does one job at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import BusyError, CancelledError, OperatorRefusedError
from mvista_core.ports import Progress
from mvista_core.records import (
    AS_TRAINED,
    Doubt,
    ImagineOptions,
    InferredPlan,
    JointState,
    Observation,
    Rollout,
)
from mvista_core.timing import ManualClock
from mvista_planning.confirmation import Confirmation
from mvista_planning.exclusive import ExclusivePlanner
from mvista_planning.relay import Relay
from tests.planning.bench import make_plan


def test_a_yes_lets_the_task_go_on() -> None:
    confirmation = Confirmation(ManualClock(), timeout_s=10.0)
    confirmation.ask(lambda stage, fraction: confirmation.answer(True)[0])
    assert confirmation.answer(True) == (False, "no task is waiting for a confirmation")


def test_a_no_ends_it() -> None:
    confirmation = Confirmation(ManualClock(), timeout_s=10.0)
    with pytest.raises(OperatorRefusedError, match="declined"):
        confirmation.ask(lambda stage, fraction: confirmation.answer(False)[0])


def test_silence_is_a_no_after_the_time_allowed() -> None:
    clock = ManualClock()
    with pytest.raises(OperatorRefusedError, match="within 10 s"):
        Confirmation(clock, timeout_s=10.0).ask(lambda stage, fraction: True)
    assert clock.monotonic_ns() / 1e9 == pytest.approx(10.0, abs=0.1)


def test_an_answer_given_before_the_question_does_not_count() -> None:
    confirmation = Confirmation(ManualClock(), timeout_s=1.0)
    confirmation.answer(True)
    with pytest.raises(OperatorRefusedError):
        confirmation.ask(lambda stage, fraction: True)


def test_a_cancel_ends_the_wait() -> None:
    with pytest.raises(CancelledError):
        Confirmation(ManualClock(), 10.0).ask(lambda stage, fraction: fraction < 0.5)


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=30))
def test_relayed_progress_never_goes_back_and_stays_in_range(fractions: list[float]) -> None:
    clock, told = ManualClock(), [0.0]

    def progress(stage: str, fraction: float) -> bool:
        told.append(fraction)
        return True

    relay = Relay(progress, "imagine", clock)
    for fraction in fractions:
        relay.update(fraction)
        clock.advance(0.1)
        assert relay.keep_going()
    assert told == sorted(told) and told[-1] <= 1.0 and len(told) == 1 + len(fractions)


def test_a_relay_tells_at_most_ten_times_a_second() -> None:
    clock, told = ManualClock(), []

    def progress(stage: str, fraction: float) -> bool:
        told.append(stage)
        return True

    relay = Relay(progress, "imagine", clock)
    for _ in range(100):
        relay.keep_going()
        clock.advance(0.01)
    assert len(told) == 10


DOUBTS = (Doubt("goal_gap_m", 0.01, 0.03),)


class _Reentrant:
    """Asks for another job from within each job."""

    def __init__(self) -> None:
        self.outer: ExclusivePlanner | None = None

    def imagine(
        self,
        observation: Observation,
        source_camera: str,
        target_cameras: Sequence[str],
        seed: int,
        progress: Progress,
        options: ImagineOptions = AS_TRAINED,
    ) -> Rollout:
        raise AssertionError("must have been refused")

    def judge(self, rollout_id: str, plan: InferredPlan, progress: Progress) -> tuple[Doubt, ...]:
        """Within the same job as the plan that it is of."""
        assert self.outer is not None
        with pytest.raises(BusyError, match="infer_actions"):
            self.outer.judge(rollout_id, plan, progress)
        return DOUBTS

    def infer_actions(
        self, rollout_id: str, initialisation: str, steps: int, progress: Progress
    ) -> InferredPlan:
        assert self.outer is not None
        joints = JointState((), np.zeros(0), np.zeros(0), 0)
        with pytest.raises(BusyError, match="infer_actions"):
            self.outer.imagine(Observation((), joints, "", ""), "cam0", (), 0, progress)
        return make_plan()


def test_a_planner_does_one_job_at_a_time() -> None:
    inner = _Reentrant()
    inner.outer = ExclusivePlanner(inner)
    for _ in range(2):
        plan = inner.outer.infer_actions("r", "head", 1, lambda stage, fraction: True)
        assert plan.doubts == DOUBTS
