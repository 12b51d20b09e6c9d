"""The task node: action `run_task` and the operator's service `confirm`. No maths."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import Outcome, StageReport
from std_srvs.srv import SetBool

from mvista_core.errors import MvistaError
from mvista_core.ports import Progress
from mvista_planning.confirmation import Confirmation
from mvista_planning.settings import steps_asked
from mvista_planning.task import GateLimits, Task, TaskReport, TaskRequest
from mvista_planning.task_steps_node import Optimisation, RosSteps
from mvista_ros.actions import WorkServer
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import (
    doubts_to_msg,
    options_from_goal,
    outcome_from_error,
    outcome_ok,
    trajectory_to_msg,
)
from mvista_ros.convert.joints import doubles
from mvista_ros.parameters import declare, parameter
from mvista_world.config import CAMERAS

THREADS = 6
FIXED = "the arm, the optimisation and the gate are those that the node began with"
"""Why the other parameters do not change."""


@dataclass(frozen=True)
class TaskParameters:
    """Parameters of the task node."""

    source_camera: str = parameter(
        CAMERAS[0], "The view the model sees when a goal names none", live=True
    )
    target_cameras: tuple[str, ...] = parameter(
        CAMERAS[1:], "The views imagined beside it", live=True
    )
    arm: str = parameter("piper", "Namespace of the arm that executes")
    initialisation: str = parameter("head", "Start of the optimisation: head, random or null")
    steps: int = parameter(
        -1, "Optimisation steps; -1: as many as the weights take from that start", -1, 1000
    )
    confirm: bool = parameter(
        False, "Whether every plan waits for the service `confirm`", live=True
    )
    confirm_timeout_s: float = parameter(
        120.0, "An operator silent for so long has declined", 1.0, 3600.0
    )
    server_timeout_s: float = parameter(
        180.0, "Longest wait for planner and executor to serve", 0.1, 3600.0, live=True
    )
    plan_age_limit_s: float = parameter(240.0, "Oldest plan that is executed", 1.0, 3600.0)


class TaskNode(HouseNode):
    """Carries tasks out, one at a time, with the arm that its parameters name."""

    def __init__(self) -> None:
        super().__init__("task")
        self._settings = declare(self, TaskParameters, self._change, FIXED)
        settings, clock = self._settings, self.system_clock
        self._operator = Confirmation(clock, settings.confirm_timeout_s)
        optimisation = Optimisation(settings.initialisation, steps_asked(settings.steps))
        self._steps = RosSteps(self, clock, settings.arm, optimisation, self._operator)
        self._task = Task(self._steps, GateLimits(settings.plan_age_limit_s), clock)
        self.create_service(SetBool, "confirm", self._confirm)
        self._server = WorkServer(self, RunTask, "run_task", self._run)

    def health(self) -> Health:
        """The stage of the running task, or what a task would have to wait for."""
        stage = self._task.stage
        if stage is None and (missing := self._steps.missing):
            return Health(Level.WARN, f"waits for {' and '.join(missing)}")
        return Health(message=f"at stage {stage.value}" if stage else "idle")

    def stop(self) -> None:
        """Cancel the running task; the arm stops smoothly."""
        self._server.stop()

    def _change(self, settings: TaskParameters) -> None:
        """For the tasks that are yet to begin."""
        self._settings = settings

    def _run(self, request: RunTask.Goal, progress: Progress) -> RunTask.Result:
        settings = self._settings
        options = options_from_goal(request)
        own = () if options.cameras else settings.target_cameras
        asked = TaskRequest(
            request.instruction,
            request.source_camera or settings.source_camera,
            tuple(request.target_cameras) or own,
            request.seed,
            request.confirm or settings.confirm,
            options,
        )
        self._steps.wait_until_ready(settings.server_timeout_s, progress)
        report = self._task.run(asked, progress)
        for stage in report.stages:
            words = f"{stage.stage.value}: {stage.duration_s:.2f} s"
            self.get_logger().info(words if stage.error is None else f"{words}, {stage.error}")
        return to_result(report)

    def _confirm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._operator.answer(request.data)
        return response


def to_result(report: TaskReport) -> RunTask.Result:
    """A task's report as the action's result; what was never found stays empty."""
    result = RunTask.Result(
        outcome=_outcome(report.error),
        stages=[
            StageReport(name=s.stage.value, outcome=_outcome(s.error), duration_s=s.duration_s)
            for s in report.stages
        ],
    )
    if report.imagined is not None:
        result.rollout_id = report.imagined.rollout_id
        result.seed, result.imagined = report.imagined.seed, report.imagined.count
    if report.plan is not None:
        result.plan_id = report.plan.refined.provenance.plan_id
        result.weights_sha256 = report.plan.refined.provenance.weights_sha256
        result.prior = trajectory_to_msg(report.plan.prior)
        result.refined = trajectory_to_msg(report.plan.refined)
        result.losses = doubles(report.plan.losses)
        result.head_disagreement_rad = report.plan.head_disagreement_rad
        result.doubts = doubts_to_msg(report.plan.doubts)
    return result


def _outcome(error: MvistaError | None) -> Outcome:
    return outcome_ok() if error is None else outcome_from_error(error)


def main() -> None:
    """Entry point of the `task_node` executable."""
    run_node(TaskNode, THREADS)
