"""The node as a user meets it: a real process, a real action client, a small arm on the topics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core.arm import ArmModel
from mvista_core.records import ActionTrajectory, JointState
from mvista_core.timing import SystemClock, ns_to_seconds, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient
from mvista_ros.convert import joint_command_from_msg, joint_state_to_msg, trajectory_to_msg
from tests.executor.rig import assert_within_limits_between_stalls, smooth_points, trajectory_of

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
DOMAIN = 120 + os.getpid() % 100

pytestmark = pytest.mark.system


class ArmOnTopics(Node):
    """Goes where the newest set-point says, and tells at 200 Hz where it is."""

    def __init__(self, arm: ArmModel, context: Context) -> None:
        super().__init__("arm", namespace="piper", context=context)
        self.arm = arm
        self.positions = arm.home.copy()
        self.silent = False
        self.commands: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.executed: list[JointTrajectory] = []
        self.told: list[DiagnosticArray] = []
        self.reasons: set[str] = set()
        self._states = self.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        self.create_subscription(JointStateMsg, "joint_command", self._command, qos.COMMAND)
        self.create_subscription(JointTrajectory, "executed", self.executed.append, qos.STATIC)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.told.append, qos.STATUS)
        self.create_subscription(JointStateMsg, "sent", self._sent, qos.STATUS)
        self.create_timer(0.005, self._tell)
        self.client = GoalClient(self, FollowJointTrajectory, "follow_joint_trajectory")

    def _command(self, message: JointStateMsg) -> None:
        command = joint_command_from_msg(message)
        self.positions = command.positions
        now_s = ns_to_seconds(CLOCK.monotonic_ns())
        self.commands.append((now_s, command.positions, command.velocities))

    def _sent(self, message: JointStateMsg) -> None:
        self.reasons |= set(message.header.frame_id.split(","))

    def _tell(self) -> None:
        if not self.silent:
            names, still = self.arm.joint_names, np.zeros(7)
            state = JointState(names, self.positions, still, CLOCK.now_ns())
            self._states.publish(joint_state_to_msg(state))

    def send(self, trajectory: ActionTrajectory) -> Any:
        goal = FollowJointTrajectory.Goal(trajectory=trajectory_to_msg(trajectory))
        return wait(self.client.send_goal_async(goal))


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(timeout_s)
    while not condition() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.005))
    return condition()


def wait(future: Any) -> Any:
    assert until(future.done, 20.0)
    return future.result()


@pytest.fixture
def cell(arm: ArmModel, tmp_path: Path) -> Iterator[tuple[ArmOnTopics, subprocess.Popen[bytes]]]:
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
    code = "from mvista_executor.executor_node import main; main()"
    arguments = ["--ros-args", "-r", "__ns:=/piper", "--params-file", "config/executor.yaml"]
    # This test's arm shares the machine with other tests: its own lateness is not the subject.
    arguments += ["-p", "stale_after_s:=0.4"]
    log = (tmp_path / "executor.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, stderr=log
    )
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = ArmOnTopics(arm, context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin)
    spinner.start()
    try:
        assert node.client.wait_for_server(20.0), "the executor node did not come up"
        yield node, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(10.0)
        executor.shutdown()
        spinner.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
        log.close()
        said = (tmp_path / "executor.log").read_text()
        print(said)
        assert "Traceback" not in said


def test_goals_refusals_cancel_silence_and_shutdown(
    arm: ArmModel, cell: tuple[ArmOnTopics, subprocess.Popen[bytes]]
) -> None:
    node, process = cell
    assert until(lambda: bool(node.told))
    _a_refused_goal_sends_nothing(node, arm)
    _a_goal_is_carried_out_and_held(node, arm)
    _a_newer_goal_takes_over(node, arm)
    _a_cancel_holds(node, arm)
    _silence_holds(node, arm)
    _an_interrupt_stops_smoothly_and_ends_the_process(node, arm, process)


def _long(arm: ArmModel, start: np.ndarray) -> ActionTrajectory:
    way = 0.4 * (1 - np.cos(np.arange(1, 61) / 60 * np.pi))[:, None]
    return trajectory_of(arm, start + way * np.array([1, 0, 0, 1, 0, 1, 0]))


def _speed(node: ArmOnTopics) -> float:
    return float(np.abs(node.commands[-1][2]).max())


def _refusal(node: ArmOnTopics, trajectory: ActionTrajectory) -> FollowJointTrajectory.Result:
    answer = wait(node.send(trajectory).get_result_async())
    assert answer.status == GoalStatus.STATUS_ABORTED, answer.result.error_string
    return answer.result


def _a_refused_goal_sends_nothing(node: ArmOnTopics, arm: ArmModel) -> None:
    points = smooth_points(arm, 1, count=20)
    beyond, nan = points.copy(), points.copy()
    beyond[10:, 4] = 1.5
    nan[3, 3] = np.nan
    result = _refusal(node, trajectory_of(arm, beyond))
    assert result.error_code == FollowJointTrajectory.Result.INVALID_GOAL
    assert result.error_string.startswith("[50.6]")
    assert _refusal(node, trajectory_of(arm, nan)).error_string.startswith("[50.1]")
    good = trajectory_of(arm, points)
    names = ("elbow", *arm.joint_names[1:])
    stranger = ActionTrajectory(names, good.positions, good.times_s, good.provenance)
    result = _refusal(node, stranger)
    assert result.error_code == FollowJointTrajectory.Result.INVALID_JOINTS
    assert result.error_string.startswith("[50.2]")
    assert node.commands == []


def _a_goal_is_carried_out_and_held(node: ArmOnTopics, arm: ArmModel) -> None:
    points = smooth_points(arm, 1, count=20)
    handle = node.send(trajectory_of(arm, points))
    assert handle.accepted
    answer = wait(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert answer.result.error_code == FollowJointTrajectory.Result.SUCCESSFUL
    assert np.allclose(node.commands[-1][1], points[-1])
    assert until(lambda: len(node.executed) == 1)
    sent = np.array([point.positions for point in node.executed[0].points])
    times_s = [
        p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in node.executed[0].points
    ]
    assert_within_limits_between_stalls(arm, np.array(times_s), sent, 0.05)
    assert np.allclose(sent[0], arm.home) and np.allclose(sent[-1], points[-1])
    count = len(node.commands)
    assert until(lambda: len(node.commands) > count + 50, 5.0), "the hold is not being sent"
    assert np.allclose(node.commands[-1][1], points[-1])


def _a_newer_goal_takes_over(node: ArmOnTopics, arm: ArmModel) -> None:
    first = node.send(_long(arm, node.positions.copy()))
    assert until(lambda: _speed(node) > 0.2)
    count, here = len(node.commands), node.commands[-1][1]
    back = np.linspace(0.0, 1.0, 30)[:, None] ** 2 * (arm.home - here)
    second = node.send(trajectory_of(arm, here + back))
    answer = wait(first.get_result_async())
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_string.startswith("[64]")
    answer = wait(second.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert np.allclose(node.commands[-1][1], arm.home)
    steps = np.diff(np.array([positions for _, positions, _ in node.commands[count:]]), axis=0)
    assert np.abs(steps[:, :6]).max() < 0.1, "a set-point stepped"
    assert until(lambda: "splice" in node.reasons or "stop" in node.reasons)
    assert {"exact", "hold"} & node.reasons


def _a_cancel_holds(node: ArmOnTopics, arm: ArmModel) -> None:
    handle = node.send(_long(arm, node.positions.copy()))
    assert until(lambda: _speed(node) > 0.2)
    wait(handle.cancel_goal_async())
    answer = wait(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED, answer.result.error_string
    assert answer.result.error_string.startswith("[61]")
    assert until(lambda: _speed(node) == 0.0, 1.0)


def _silence_holds(node: ArmOnTopics, arm: ArmModel) -> None:
    handle = node.send(_long(arm, node.positions.copy()))
    assert until(lambda: _speed(node) > 0.2)
    node.silent = True
    answer = wait(handle.get_result_async())
    node.silent = False
    assert answer.status == GoalStatus.STATUS_ABORTED, answer.result.error_string
    assert answer.result.error_string.startswith("[32]")
    assert until(lambda: _speed(node) == 0.0, 1.0)


def _an_interrupt_stops_smoothly_and_ends_the_process(
    node: ArmOnTopics, arm: ArmModel, process: subprocess.Popen[bytes]
) -> None:
    handle = node.send(_long(arm, node.positions.copy()))
    assert handle.accepted
    assert until(lambda: _speed(node) > 0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(10.0) == 0
    assert until(lambda: _speed(node) == 0.0, 1.0)
