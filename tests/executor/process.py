"""The executor as a process, and a small arm on its topics with an action client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mvista_interfaces.action import ExecutePlan
from mvista_interfaces.msg import SetPointReport
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core.arm import ArmModel
from mvista_core.records import ActionTrajectory, JointState
from mvista_core.timing import SystemClock, ns_to_seconds, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient
from mvista_ros.convert import (
    joint_command_from_msg,
    joint_state_to_msg,
    ns_to_stamp,
    trajectory_to_msg,
)
from mvista_ros.spinning import spinning

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
DOMAIN = 120 + os.getpid() % 100
CODE = "from mvista_executor.executor_node import main; main()"
ARGUMENTS = ("--ros-args", "-r", "__ns:=/piper", "--params-file", "config/executor.yaml")
# The same arm, by an executor of another name: its topics lead to the first one's.
REMAPPED = (
    *("--ros-args", "-r", "__ns:=/other", "--params-file", "config/executor.yaml"),
    *("-r", "joint_command:=/piper/joint_command", "-r", "joint_states:=/piper/joint_states"),
)
DDS_PROFILE = {"FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "dds" / "fastdds.xml")}
"""As the launch files and the supervisor set it."""
# The tests' arm shares the machine with other tests: its own lateness is not the subject.
LATE = ("-p", "stale_after_s:=0.4")


class ArmOnTopics(Node):
    """Goes where the newest set-point says, and tells at 200 Hz where it is."""

    def __init__(self, arm: ArmModel, context: Context) -> None:
        super().__init__("arm", namespace="piper", context=context)
        self.arm = arm
        self.positions = arm.home.copy()
        self.silent = False
        self.stamps_ahead_ns = 0
        self.commands: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.executed: list[JointTrajectory] = []
        self.told: list[DiagnosticArray] = []
        self.reports: list[SetPointReport] = []
        self._states = self.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        # Without a lifespan: this process's wall clock is not the one that a test may step.
        self.create_subscription(JointStateMsg, "joint_command", self._command, QoSProfile(depth=1))
        self.create_subscription(JointTrajectory, "executed", self.executed.append, qos.STATIC)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.told.append, qos.STATUS)
        self.create_subscription(
            SetPointReport, "set_point_report", self.reports.append, qos.EVENTS
        )
        self.create_timer(0.005, self._tell)
        self.client = GoalClient(self, FollowJointTrajectory, "follow_joint_trajectory")
        self.plans = GoalClient(self, ExecutePlan, "execute_plan")

    def _command(self, message: JointStateMsg) -> None:
        command = joint_command_from_msg(message)
        self.positions = command.positions
        now_s = ns_to_seconds(CLOCK.monotonic_ns())
        self.commands.append((now_s, command.positions, command.velocities))

    def _tell(self) -> None:
        if not self.silent:
            names, still = self.arm.joint_names, np.zeros(7)
            stamp_ns = CLOCK.now_ns() + self.stamps_ahead_ns
            self.say(joint_state_to_msg(JointState(names, self.positions, still, stamp_ns)))

    def say(self, message: JointStateMsg) -> None:
        """Publish on joint_states, whatever it is."""
        self._states.publish(message)

    def send(self, trajectory: ActionTrajectory) -> Any:
        """The goal's handle, once the executor has answered."""
        goal = FollowJointTrajectory.Goal(trajectory=trajectory_to_msg(trajectory))
        return wait(self.client.send_goal_async(goal))

    def send_plan(self, trajectory: ActionTrajectory, plan_id: str, age_s: float = 0.0) -> Any:
        """The goal's handle of a plan that was made of what was seen `age_s` ago."""
        observed = ns_to_stamp(CLOCK.now_ns() - seconds_to_ns(age_s))
        goal = ExecutePlan.Goal(
            trajectory=trajectory_to_msg(trajectory), plan_id=plan_id, observed=observed
        )
        return wait(self.plans.send_goal_async(goal))

    @property
    def reasons(self) -> set[int]:
        """All that were reported."""
        return {reason for report in self.reports for reason in report.reasons}

    def status(self) -> DiagnosticStatus | None:
        """What the executor said of itself last."""
        said = [s for array in self.told for s in array.status if s.name == "/piper/executor"]
        return said[-1] if said else None


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(timeout_s)
    while not condition() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.005))
    return condition()


def wait(future: Any) -> Any:
    assert until(future.done, 20.0)
    return future.result()


@contextmanager
def executor_process(
    log: Path,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = ARGUMENTS,
) -> Iterator[subprocess.Popen[bytes]]:
    """A running executor; what it says goes to `log`, and no traceback is among it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments, *LATE],
            cwd=ROOT,
            env={**(environment or os.environ), "ROS_DOMAIN_ID": str(DOMAIN)},
            stderr=file,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(10.0)
    said = log.read_text()
    print(said)
    assert "Traceback" not in said


@contextmanager
def arm_on_topics(arm: ArmModel) -> Iterator[ArmOnTopics]:
    """The arm, heard and served until the block is left."""
    with spinning(partial(ArmOnTopics, arm), domain_id=DOMAIN) as node:
        yield node
