"""The steps of a task over ROS: clients of the planner's actions and of the arm's executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mvista_interfaces.action import ExecutePlan, Imagine, InferActions

from mvista_core.errors import CancelledError, ExecutionError, UnavailableError
from mvista_core.ports import Clock, Progress
from mvista_core.records import ActionTrajectory, InferredPlan, Provenance
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_planning.arm_watch_node import ArmTopic
from mvista_planning.confirmation import Confirmation
from mvista_planning.relay import Relay
from mvista_planning.task import Imagined, Stage, TaskRequest
from mvista_ros.actions import GoalClient, call_action, succeeded
from mvista_ros.base_node import HouseNode
from mvista_ros.convert import (
    doubts_from_msg,
    ns_to_stamp,
    options_to_goal,
    raise_outcome,
    trajectory_from_msg,
    trajectory_to_msg,
)

WAITING = "wait"
"""What feedback calls the time before the first stage."""
LOOK_PERIOD_S = 0.1


@dataclass(frozen=True)
class Optimisation:
    """How actions are inferred: initialisation "head", "random" or "null", and how many steps."""

    initialisation: str
    steps: int


class RosSteps:
    """`TaskSteps` whose every stage is an action of another node, cancelled with the task."""

    def __init__(
        self,
        node: HouseNode,
        clock: Clock,
        arm: str,
        optimisation: Optimisation,
        confirmation: Confirmation,
    ) -> None:
        self._clock = clock
        self._optimisation = optimisation
        self._confirmation = confirmation
        self._arm = ArmTopic(node, clock, arm)
        self._imagine = GoalClient(node, Imagine, "imagine")
        self._infer = GoalClient(node, InferActions, "infer_actions")
        self._execute = GoalClient(node, ExecutePlan, f"{arm}/execute_plan")

    @property
    def missing(self) -> tuple[str, ...]:
        """Actions of planner and executor that nobody serves yet."""
        clients = (self._imagine, self._infer, self._execute)
        return tuple(c._action_name for c in clients if not c.server_is_ready())

    def wait_until_ready(self, timeout_s: float, progress: Progress) -> None:
        """Return once planner and executor serve and the arm can move: weights may still load.

        Raises:
            UnavailableError: they do not within `timeout_s`; names what is missing.
            ArmNotReadyError, StaleFeedbackError: the arm needs somebody first; nothing is planned.
            CancelledError: the caller gave up.
        """
        self._wait_until_served(timeout_s, progress)
        self._arm.wait(WAITING, timeout_s, progress)

    def _wait_until_served(self, timeout_s: float, progress: Progress) -> None:
        start_ns = self._clock.monotonic_ns()
        while missing := self.missing:
            waited_s = ns_to_seconds(self._clock.monotonic_ns() - start_ns)
            if waited_s > timeout_s:
                raise UnavailableError(
                    f"no action server {' and '.join(missing)} within {timeout_s:g} s "
                    "(server_timeout_s); has its process ended? see /diagnostics"
                )
            if not progress(WAITING, min(waited_s / timeout_s, 1.0)):
                raise CancelledError(f"cancelled while {' and '.join(missing)} were waited for")
            self._clock.sleep_until(self._clock.monotonic_ns() + seconds_to_ns(LOOK_PERIOD_S))

    def imagine(self, request: TaskRequest, progress: Progress) -> Imagined:
        """Action `imagine`; returns the rollout's id and the age of what was seen."""
        goal = Imagine.Goal(
            instruction=request.instruction,
            source_camera=request.source_camera,
            target_cameras=list(request.target_cameras),
            seed=request.seed,
            **options_to_goal(request.options),
        )
        found = self._ask(self._imagine, goal, Stage.IMAGINE, progress)
        age_s, seed, count = found.observation_age_s, found.seed, found.imagined
        return Imagined(str(found.rollout_id), float(age_s), int(seed), int(count))

    def infer_actions(self, rollout_id: str, progress: Progress) -> InferredPlan:
        """Action `infer_actions`, unless the arm was lost meanwhile."""
        self._arm.check()
        start, steps = self._optimisation.initialisation, self._optimisation.steps
        goal = InferActions.Goal(rollout_id=rollout_id, initialisation=start, steps=steps)
        found = self._ask(self._infer, goal, Stage.INFER, progress)
        # One loss a step: how many were taken, where the weights had the choice.
        taken = len(found.losses)
        made = Provenance(found.plan_id, found.weights_sha256, int(found.seed), start, taken)
        prior, refined = (trajectory_from_msg(t, made) for t in (found.prior, found.refined))
        doubts = doubts_from_msg(found.doubts)
        return InferredPlan(
            prior, refined, np.array(found.losses), float(found.head_disagreement_rad), doubts
        )

    def confirm(self, progress: Progress) -> None:
        """The operator's service call."""
        self._confirmation.ask(progress)

    def execute(self, trajectory: ActionTrajectory, seen_s: float, progress: Progress) -> None:
        """Action `execute_plan` of the arm; cancelling it is a smooth stop and hold."""
        # The executor's measure of a plan's age: the observation that it was made from.
        observed_ns = self._clock.now_ns() - seconds_to_ns(seen_s)
        goal = ExecutePlan.Goal(
            trajectory=trajectory_to_msg(trajectory),
            plan_id=trajectory.provenance.plan_id,
            observed=ns_to_stamp(observed_ns),
        )
        self._ask(self._execute, goal, Stage.EXECUTE, progress)

    def _ask(self, client: GoalClient, goal: Any, stage: Stage, progress: Progress) -> Any:
        relay = Relay(progress, stage.value, self._clock)
        status, result = call_action(
            client,
            goal,
            self._clock,
            on_feedback=lambda feedback: relay.update(feedback.progress),
            keep_going=relay.keep_going,
        )
        raise_outcome(result.outcome)
        if not succeeded(status):
            raise ExecutionError(f"{stage.value}: ended with status {status} and without a reason")
        return result
