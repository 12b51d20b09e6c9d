"""The task node as a process: what it waits for, and what it refuses before anything is planned."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mvista_interfaces.action import ExecutePlan, Imagine, InferActions, RunTask
from rclpy.action import ActionServer
from rclpy.node import Node
from std_srvs.srv import Trigger

from mvista_bringup.supervisor import free_domain_id
from mvista_core.errors import (
    ArmFaultError,
    ArmNotReadyError,
    InstructionError,
    MvistaError,
    UnavailableError,
)
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_piper.emulator.control import Order
from mvista_piper.emulator.loopback import DEFAULT_GROUP, LoopbackBus
from mvista_piper.emulator.server import tell
from mvista_ros import qos
from mvista_ros.actions import GoalClient, WorkServer, call_action
from mvista_ros.convert import error_from_outcome
from mvista_ros.spinning import spinning

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
APPEAR_S = 60.0
PORT = 30_000 + os.getpid() % 10_000
REFUSAL = "the planner was asked"
CALLS = ("enable", "rearm")


def until(condition: Callable[[], bool]) -> bool:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(APPEAR_S)
    while not condition() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.02))
    return condition()


class LatePlanner(Node):
    """An operator, and the servers that the task needs, which come up when they are told to."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("late_planner", **arguments)
        self.tasks = GoalClient(self, RunTask, "run_task")
        self.asked: list[str] = []
        self.health: list[str] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)
        self.arm_says = ""
        self.create_subscription(DiagnosticStatus, "piper/status", self._hear_arm, qos.STATUS)
        self._driver = {name: self.create_client(Trigger, f"piper/{name}") for name in CALLS}

    def serve(self) -> None:
        WorkServer(self, Imagine, "imagine", self._imagine)
        WorkServer(self, InferActions, "infer_actions", self._imagine)
        self.arm = ActionServer(self, ExecutePlan, "piper/execute_plan", lambda goal: None)

    def run(self, on_stage: Any = lambda stage: None) -> MvistaError | None:
        goal = RunTask.Goal(instruction="open the drawer")
        hear = lambda feedback: on_stage(feedback.stage)  # noqa: E731
        _, result = call_action(self.tasks, goal, CLOCK, hear, server_timeout_s=APPEAR_S)
        return error_from_outcome(result.outcome)

    def call(self, name: str) -> None:
        """A service of the arm's driver; it must agree."""
        assert self._driver[name].wait_for_service(APPEAR_S)
        future = self._driver[name].call_async(Trigger.Request())
        assert until(future.done) and future.result().success, future.result()

    def _hear_arm(self, message: DiagnosticStatus) -> None:
        self.arm_says = message.message

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
    for name in ("imagine", "infer_actions", "piper/execute_plan"):
        assert name in str(error)


@pytest.fixture
def arm(planner: LatePlanner) -> Iterator[None]:
    """A real driver beside an emulated arm, on the planner's domain."""
    bus = ["channel:=" + DEFAULT_GROUP, f"udp_port:={PORT}", "interface:=udp_multicast"]
    patient = ["stale_after_s:=0.5", "slow_stale_after_s:=2.0", "command_timeout_s:=0.5"]
    parameters = [item for pair in (*bus, *patient) for item in ("-p", pair)]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(planner.context.get_domain_id())}
    emulator = [sys.executable, "-m", "mvista_piper.emulator_main", "--port", str(PORT)]
    driver = [sys.executable, "-c", "from mvista_piper.piper_node import main; main()"]
    driver += ["--ros-args", "-r", "__ns:=/piper", "--params-file", "config/piper.yaml"]
    processes = [
        subprocess.Popen([*emulator, "--home", "config/arms/piper.yaml", "--enabled"], cwd=ROOT),
        subprocess.Popen([*driver, *parameters], cwd=ROOT, env=environment),
    ]
    try:
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30.0)


def tell_the_arm(*orders: str) -> None:
    with LoopbackBus(DEFAULT_GROUP, PORT) as bus:
        for order in orders:
            tell(bus, Order.parse(order), APPEAR_S)


@pytest.mark.system
@pytest.mark.parametrize("planner", [60.0], indirect=True)
def test_nothing_is_planned_for_an_arm_that_cannot_move(planner: LatePlanner, arm: None) -> None:
    """Refused with the driver's own number before the planner is asked; planned once it is well."""
    planner.serve()
    assert until(lambda: "ready, not enabled" in planner.arm_says), planner.arm_says
    error = planner.run()
    assert isinstance(error, ArmNotReadyError) and error.code == 33, error
    assert "call the service `enable`" in str(error) and "no plan is made" in str(error)

    planner.call("enable")
    tell_the_arm("collision=2")
    assert until(lambda: planner.arm_says.startswith("fault")), planner.arm_says
    error = planner.run()
    assert isinstance(error, ArmFaultError) and error.code == 37, error
    assert "collision" in str(error) and planner.asked == []

    tell_the_arm("clear")
    planner.call("rearm")
    assert until(lambda: planner.arm_says.startswith("holding")), planner.arm_says
    error = planner.run()
    assert isinstance(error, InstructionError) and planner.asked == ["open the drawer"]
