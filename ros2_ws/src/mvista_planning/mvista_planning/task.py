"""A task as a state machine: imagine -> infer -> gate -> (confirm) -> execute. Knows no ROS.

Every stage that was entered is reported with its outcome and duration; the first that fails ends
the task. Nothing moves before the execute stage.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from mvista_core.errors import BusyError, CancelledError, GateError, MvistaError, TrajectoryError
from mvista_core.ports import Clock, Progress
from mvista_core.records import AS_TRAINED, ActionTrajectory, ImagineOptions, InferredPlan
from mvista_core.timing import ns_to_seconds
from mvista_world import gate


class Stage(str, Enum):
    """The stages, in order."""

    IMAGINE = "imagine"
    INFER = "infer"
    GATE = "gate"
    CONFIRM = "confirm"
    EXECUTE = "execute"


@dataclass(frozen=True)
class TaskRequest:
    """What is asked for: the words, the view the model sees, the views it imagines beside it, and
    how (`options`)."""

    instruction: str
    source_camera: str
    target_cameras: tuple[str, ...]
    seed: int
    confirm: bool
    options: ImagineOptions = AS_TRAINED


@dataclass(frozen=True)
class Imagined:
    """A rollout by its id, and the age of the oldest frame behind it when this was answered; its
    seed, and how many rollouts it was chosen from."""

    rollout_id: str
    observation_age_s: float
    seed: int = 0
    count: int = 1


@dataclass(frozen=True)
class GateLimits:
    """What a plan must keep to be executed.

    `plan_age_s` counts from the capture of the oldest frame that was seen, and from the moment the
    task was asked for. Every other limit belongs to the weights, and comes with the plan
    (`InferredPlan.doubts`).
    """

    plan_age_s: float


@dataclass(frozen=True)
class StageReport:
    """How one stage ended; `error` is None when it went well."""

    stage: Stage
    duration_s: float
    error: MvistaError | None


@dataclass(frozen=True)
class TaskReport:
    """How a task ended: every stage that was entered, and what they found."""

    stages: tuple[StageReport, ...]
    imagined: Imagined | None
    plan: InferredPlan | None
    error: MvistaError | None


class TaskSteps(Protocol):
    """What the stages call. Each raises a `MvistaError` when it fails or is cancelled."""

    def imagine(self, request: TaskRequest, progress: Progress) -> Imagined:
        """Returns the rollout's id and how old what it was made from is."""

    def infer_actions(self, rollout_id: str, progress: Progress) -> InferredPlan: ...

    def confirm(self, progress: Progress) -> None:
        """Returns once the operator agrees."""

    def execute(self, trajectory: ActionTrajectory, seen_s: float, progress: Progress) -> None:
        """Returns once the arm rests at the end; on any error the arm holds.

        `seen_s` is the age of what the plan was made from.
        """


class Task:
    """Runs one task at a time."""

    def __init__(self, steps: TaskSteps, limits: GateLimits, clock: Clock) -> None:
        self._steps = steps
        self._limits = limits
        self._clock = clock
        self._running = threading.Lock()
        self._stage: Stage | None = None

    @property
    def stage(self) -> Stage | None:
        """The stage that runs now, None between tasks."""
        return self._stage

    def run(self, request: TaskRequest, progress: Progress) -> TaskReport:
        """Carry a task out; a failed stage is in the report, not raised.

        Raises:
            BusyError: another task runs; it goes on.
        """
        if not self._running.acquire(blocking=False):
            raise BusyError(f"a task is at stage '{self._stage}'; one at a time, none is queued")
        try:
            return self._run(request, progress)
        finally:
            self._stage = None
            self._running.release()

    def _run(self, request: TaskRequest, progress: Progress) -> TaskReport:
        asked_ns = self._clock.monotonic_ns()
        reports: list[StageReport] = []
        imagined, plan, error = None, None, None
        try:
            with self._entered(Stage.IMAGINE, reports, progress):
                imagined = self._steps.imagine(request, progress)
                answered_ns = self._clock.monotonic_ns()
            with self._entered(Stage.INFER, reports, progress):
                plan = self._steps.infer_actions(imagined.rollout_id, progress)
            with self._entered(Stage.GATE, reports, progress):
                check_finite(plan)
                gate.check(plan.doubts)
                check_age(self._seen_s(imagined, answered_ns, asked_ns), self._limits)
            if request.confirm:
                with self._entered(Stage.CONFIRM, reports, progress):
                    self._steps.confirm(progress)
                    # An operator may think for a while.
                    check_age(self._seen_s(imagined, answered_ns, asked_ns), self._limits)
            with self._entered(Stage.EXECUTE, reports, progress):
                seen_s = self._seen_s(imagined, answered_ns, asked_ns)
                self._steps.execute(plan.refined, seen_s, progress)
        except MvistaError as failure:
            error = failure
        return TaskReport(tuple(reports), imagined, plan, error)

    def _seen_s(self, imagined: Imagined, answered_ns: int, asked_ns: int) -> float:
        """Age of what was seen: of its oldest frame, and at least since it was asked for.

        Nothing but the steady clock counts here. NaN where the planner does not know.
        """
        frames_s = imagined.observation_age_s + self._age_s(answered_ns)
        return frames_s if not frames_s <= self._age_s(asked_ns) else self._age_s(asked_ns)

    def _age_s(self, asked_ns: int) -> float:
        return ns_to_seconds(self._clock.monotonic_ns() - asked_ns)

    @contextmanager
    def _entered(
        self, stage: Stage, reports: list[StageReport], progress: Progress
    ) -> Iterator[None]:
        self._stage = stage
        start_ns = self._clock.monotonic_ns()
        error: MvistaError | None = None
        try:
            if not progress(stage.value, 0.0):
                raise CancelledError(f"cancelled before stage '{stage.value}'")
            yield
            progress(stage.value, 1.0)
        except MvistaError as failure:
            error = failure
            raise
        finally:
            reports.append(StageReport(stage, self._age_s(start_ns), error))


def check_finite(plan: InferredPlan) -> None:
    """`TrajectoryError` (reason NOT_FINITE) when a position or a time is not a number."""
    wrong = ~np.isfinite(plan.refined.positions).all(axis=1) | ~np.isfinite(plan.refined.times_s)
    if wrong.any():
        raise TrajectoryError(
            TrajectoryError.NOT_FINITE,
            f"{int(wrong.sum())} of {len(wrong)} points of plan "
            f"{plan.refined.provenance.plan_id} are not finite, the first is {int(wrong.argmax())}",
        )


def check_age(age_s: float, limits: GateLimits) -> None:
    """`GateError` when the observation behind the plan is too old (or of no known age)."""
    if not age_s <= limits.plan_age_s:
        raise GateError(
            f"the plan is {age_s:.1f} s old by the oldest frame it was made from, at most "
            f"{limits.plan_age_s:g} s allowed "
            "(plan_age_limit_s): the scene may have changed; run the task again",
            GateError.TOO_OLD,
        )
