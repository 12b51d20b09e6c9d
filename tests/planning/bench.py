"""Steps of a task whose durations and failures a test chooses, on a clock that it moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mvista_core.errors import CancelledError, MvistaError
from mvista_core.ports import Progress
from mvista_core.records import ActionTrajectory, InferredPlan, Provenance
from mvista_core.timing import ManualClock
from mvista_planning.task import Imagined, TaskRequest

JOINTS = ("joint1", "joint2", "gripper")


def make_plan(value: float = 0.1) -> InferredPlan:
    times_s = np.arange(1, 6) / 15.0
    made = Provenance("plan", "sha", 7, "head", 15)
    positions = np.full((5, len(JOINTS)), value)
    prior = ActionTrajectory(JOINTS, np.zeros_like(positions), times_s, made)
    refined = ActionTrajectory(JOINTS, positions, times_s, made)
    return InferredPlan(prior, refined, np.array([2.0, 1.0]), 0.05)


@dataclass
class Steps:
    """Every stage takes `seconds[stage]` and then raises `errors[stage]`, if there is one."""

    clock: ManualClock
    plan: InferredPlan = field(default_factory=make_plan)
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, MvistaError] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    executed: list[ActionTrajectory] = field(default_factory=list)
    executed_age_s: list[float] = field(default_factory=list)
    observation_age_s: float = 0.05

    def imagine(self, request: TaskRequest, progress: Progress) -> Imagined:
        self._pass("imagine", progress)
        return Imagined(f"rollout of {request.instruction}", self.observation_age_s)

    def infer_actions(self, rollout_id: str, progress: Progress) -> InferredPlan:
        self._pass("infer", progress)
        return self.plan

    def confirm(self, progress: Progress) -> None:
        self._pass("confirm", progress)

    def execute(self, trajectory: ActionTrajectory, seen_s: float, progress: Progress) -> None:
        self._pass("execute", progress)
        self.executed.append(trajectory)
        self.executed_age_s.append(seen_s)

    def _pass(self, stage: str, progress: Progress) -> None:
        self.calls.append(stage)
        self.clock.advance(self.seconds.get(stage, 1.0))
        if not progress(stage, 0.5):
            raise CancelledError(f"cancelled at {stage}")
        if stage in self.errors:
            raise self.errors[stage]
