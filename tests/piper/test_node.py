"""The driver node as a user meets it: a real process, an emulated arm in another, real topics.

Times are generous: the machine is shared, and its lateness is not the subject. How fast the driver
reacts is tested on the injected clock (test_faults.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import Trigger

from mvista_core.records import JointCommand
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_piper.emulator.loopback import DEFAULT_GROUP
from mvista_ros import qos
from mvista_ros.convert import joint_command_to_msg, joint_state_from_msg, stamp_to_ns
from tests.piper.cell import HOME, PIPER

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
DOMAIN = 20 + os.getpid() % 80
PORT = 20_000 + os.getpid() % 10_000
NODE = "from mvista_piper.piper_node import main; main()"
EMULATOR = [sys.executable, "-m", "mvista_piper.emulator_main", "--port", str(PORT)]
BUS = [f"channel:={DEFAULT_GROUP}", f"udp_port:={PORT}", "interface:=udp_multicast"]
PATIENT = ["stale_after_s:=0.5", "slow_stale_after_s:=2.0", "command_timeout_s:=0.5"]

pytestmark = pytest.mark.system


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(timeout_s)
    while not condition() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))
    return condition()


class Operator(Node):
    """Watches the arm's topics, calls its services, sends set-points."""

    def __init__(self, context: Context) -> None:
        super().__init__("operator", namespace="piper", context=context)
        self.states: list[JointStateMsg] = []
        self.statuses: list[DiagnosticStatus] = []
        self.told: list[DiagnosticArray] = []
        self.create_subscription(JointStateMsg, "joint_states", self.states.append, qos.SENSOR_IN)
        self.create_subscription(DiagnosticStatus, "status", self.statuses.append, qos.STATUS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.told.append, qos.STATUS)
        self._commands = self.create_publisher(JointStateMsg, "joint_command", qos.COMMAND)
        self._operator = {name: self.create_client(Trigger, name) for name in ("enable", "rearm")}

    def call(self, name: str) -> Trigger.Response:
        assert self._operator[name].wait_for_service(30.0)
        future = self._operator[name].call_async(Trigger.Request())
        assert until(future.done)
        return future.result()

    def positions(self) -> np.ndarray:
        return joint_state_from_msg(self.states[-1]).positions

    def move(self, joint: int, by: float, seconds: float) -> None:
        """Stream a straight line at about 100 Hz by the clock, whatever it takes."""
        start, began_ns = self.positions(), CLOCK.monotonic_ns()
        share = 0.0
        while share < 1.0:
            share = min((CLOCK.monotonic_ns() - began_ns) / seconds_to_ns(seconds), 1.0)
            goal = start.copy()
            goal[joint] += by * share
            command = JointCommand(PIPER.joint_names, goal, np.zeros(7), CLOCK.now_ns())
            self._commands.publish(joint_command_to_msg(command))
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))


@pytest.fixture
def operator() -> Iterator[Operator]:
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node, executor = Operator(context), SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin)
    spinner.start()
    yield node
    executor.shutdown()
    spinner.join()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The driver node beside an emulated arm that stands at its home."""
    joints = ",".join(f"{q:.4f}" for q in HOME[:6])
    arm = subprocess.Popen([*EMULATOR, "--joints", joints, "--enabled"], cwd=ROOT)
    parameters = [item for pair in (*BUS, *PATIENT) for item in ("-p", pair)]
    with (tmp_path / "driver.log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-c", NODE, "--ros-args", "-r", "__ns:=/piper",
             "--params-file", "config/piper.yaml", *parameters],
            cwd=ROOT, env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}, stderr=log,
        )  # fmt: skip
        try:
            yield node
        finally:
            for process in (node, arm):
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait(30.0)
    said = (tmp_path / "driver.log").read_text()
    print(said)
    assert "Traceback" not in said


def tell_the_arm(order: str) -> None:
    subprocess.run([*EMULATOR, "--tell", order], check=True, timeout=30.0)


def test_states_enable_motion_fault_rearm_and_exit(
    driver: subprocess.Popen[bytes], operator: Operator
) -> None:
    assert until(lambda: len(operator.states) > 20)
    np.testing.assert_allclose(operator.positions(), HOME, atol=2e-3)
    stamps_ns = [stamp_to_ns(state.header.stamp) for state in operator.states]
    assert np.diff(stamps_ns).min() > 0 and abs(CLOCK.now_ns() - stamps_ns[-1]) < 5e9

    answer = operator.call("enable")
    assert answer.success and answer.message == "holding", answer.message
    operator.move(0, 0.3, 1.5)
    assert until(lambda: abs(operator.positions()[0] - 0.3) < 0.01)

    tell_the_arm("collision=2")
    assert until(lambda: bool(operator.statuses) and "collision" in operator.statuses[-1].message)
    assert operator.statuses[-1].level == DiagnosticStatus.ERROR
    assert until(lambda: any("[37]" in m.status[0].message for m in operator.told if m.status))
    refused = operator.call("enable")
    assert not refused.success and "collision" in refused.message

    tell_the_arm("collision=0")
    answer = operator.call("rearm")
    assert answer.success, answer.message
    operator.move(0, -0.2, 1.0)
    assert until(lambda: abs(operator.positions()[0] - 0.1) < 0.01)

    driver.send_signal(signal.SIGTERM)
    assert driver.wait(30.0) == 0


def test_a_bus_that_cannot_be_told_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NODE, "--ros-args", "--params-file", "config/piper.yaml"],
        cwd=ROOT, capture_output=True, text=True, timeout=60.0,
        env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "ConfigError (10): set `adapter_serial`" in done.stderr
