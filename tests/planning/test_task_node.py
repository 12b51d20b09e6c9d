"""The task node as a process: a task that is sent while the planner still starts is carried out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_msgs.action import FollowJointTrajectory
from diagnostic_msgs.msg import DiagnosticArray
from mvista_interfaces.action import Imagine, InferActions, RunTask
from rclpy.action import ActionServer
from rclpy.node import Node

from mvista_bringup.supervisor import free_domain_id
from mvista_core.errors import InstructionError, MvistaError, UnavailableError
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient, WorkServer, call_action
from mvista_ros.convert import error_from_outcome
from mvista_ros.spinning import spinning

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
APPEAR_S = 40.0
REFUSAL = "the planner was asked"


class LatePlanner(Node):
    """An operator, and the servers that the task needs, which come up when they are told to."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("late_planner", **arguments)
        self.tasks = GoalClient(self, RunTask, "run_task")
        self.asked: list[str] = []
        self.health: list[str] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)

    def serve(self) -> None:
        WorkServer(self, Imagine, "imagine", self._imagine)
        WorkServer(self, InferActions, "infer_actions", self._imagine)
        self.arm = ActionServer(
            self, FollowJointTrajectory, "piper/follow_joint_trajectory", lambda goal: None
        )

    def run(self, on_stage: Any = lambda stage: None) -> MvistaError | None:
        goal = RunTask.Goal(instruction="open the drawer")
        hear = lambda feedback: on_stage(feedback.stage)  # noqa: E731
        _, result = call_action(self.tasks, goal, CLOCK, hear, server_timeout_s=APPEAR_S)
        return error_from_outcome(result.outcome)

    def _imagine(self, request: Any, progress: Any) -> Any:
        self.asked.append(request.instruction)
        raise InstructionError(REFUSAL)

    def _hear(self, message: DiagnosticArray) -> None:
        self.health += [status.message for status in message.status]


@pytest.fixture
def planner(request: pytest.FixtureRequest) -> Iterator[LatePlanner]:
    """Beside a real task node that waits so many seconds for its servers."""
    domain = free_domain_id()  # no server of an earlier test is remembered there
    code = "from mvista_planning.task_node import main; main()"
    arguments = ["--ros-args", "--params-file", "config/task.yaml"]
    arguments += ["-p", f"server_timeout_s:={request.param}"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )
    try:
        with spinning(LatePlanner, domain, threads=4) as node:
            yield node
    finally:
        process.terminate()
        assert process.wait(20.0) == 0


@pytest.mark.parametrize("planner", [60.0], indirect=True)
def test_a_task_sent_while_the_planner_starts_reaches_it(planner: LatePlanner) -> None:
    """It waits, says so, and is the planner's once that serves: never lost to a slow start."""
    stages: list[str] = []

    def begin_late(stage: str) -> None:
        stages.append(stage)
        if len(stages) == 15:  # 1.5 s: an operator's goal was first
            planner.serve()

    error = planner.run(begin_late)
    assert planner.asked == ["open the drawer"]
    assert stages[:15] == ["wait"] * 15 and "imagine" in stages
    assert isinstance(error, InstructionError) and REFUSAL in str(error)
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(5.0)
    while "idle" not in planner.health and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))
    assert planner.health[-1] == "idle"
    assert any(message.startswith("waits for ") for message in planner.health)


@pytest.mark.parametrize("planner", [0.5], indirect=True)
def test_a_planner_that_never_comes_is_named(planner: LatePlanner) -> None:
    error = planner.run()
    assert isinstance(error, UnavailableError)
    for name in ("imagine", "infer_actions", "piper/follow_joint_trajectory"):
        assert name in str(error)
