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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import Trigger

from mvista_core.records import JointCommand
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_piper import protocol
from mvista_piper.emulator.control import Order
from mvista_piper.emulator.loopback import DEFAULT_GROUP, LoopbackBus
from mvista_piper.emulator.server import tell
from mvista_ros import qos
from mvista_ros.convert import joint_command_to_msg, joint_state_from_msg, stamp_to_ns
from mvista_ros.spinning import spinning
from tests.fakes.step_clock import SteppedClock
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
        self.commands = self.create_publisher(JointStateMsg, "joint_command", qos.COMMAND)
        self._operator = {name: self.create_client(Trigger, name) for name in ("enable", "rearm")}

    def enable(self) -> Trigger.Response:
        """Once the arm was heard: before, enabling is refused."""
        assert until(lambda: len(self.states) > 20)
        return self.call("enable")

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
            self.commands.publish(joint_command_to_msg(command))
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))


@pytest.fixture
def operator() -> Iterator[Operator]:
    with spinning(Operator, DOMAIN) as node:
        yield node


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> list[str]:
    """Faults of the emulated arm from its start on; parametrize indirectly."""
    return list(getattr(request, "param", []))


@contextmanager
def running_driver(
    folder: Path,
    faults: Sequence[str] = (),
    surroundings: Mapping[str, str] = os.environ,
    extra: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """The driver node beside an emulated arm that stands at its home."""
    joints = ",".join(f"{q:.4f}" for q in HOME[:6])
    options = [item for fault in faults for item in ("--fault", fault)]
    arm = subprocess.Popen([*EMULATOR, "--joints", joints, "--enabled", *options], cwd=ROOT)
    parameters = [item for pair in (*BUS, *PATIENT, *extra) for item in ("-p", pair)]
    with (folder / "driver.log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-c", NODE, "--ros-args", "-r", "__ns:=/piper",
             "--params-file", "config/piper.yaml", *parameters],
            cwd=ROOT, env={**surroundings, "ROS_DOMAIN_ID": str(DOMAIN)}, stderr=log,
        )  # fmt: skip
        try:
            yield node
        finally:
            for process in (node, arm):
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait(30.0)
    said = (folder / "driver.log").read_text()
    print(said)
    assert "Traceback" not in said


@pytest.fixture
def driver(tmp_path: Path, faults: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with running_driver(tmp_path, faults) as process:
        yield process


def tell_the_arm(*orders: str) -> None:
    with LoopbackBus(DEFAULT_GROUP, PORT) as bus:
        for order in orders:
            tell(bus, Order.parse(order), 30.0)


def says(operator: Operator, *texts: str) -> bool:
    """Whether `status` is an ERROR with all of these."""
    last = operator.statuses[-1] if operator.statuses else DiagnosticStatus()
    return last.level == DiagnosticStatus.ERROR and all(text in last.message for text in texts)


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


def test_an_exit_brakes_whatever_still_comes(
    driver: subprocess.Popen[bytes], operator: Operator
) -> None:
    """Driver and executor are told to end together: set-points come while the driver brakes."""
    assert operator.enable().success
    mover = threading.Thread(target=operator.move, args=(0, 1.2, 4.0))
    angles: list[float] = []
    with LoopbackBus(DEFAULT_GROUP, PORT) as bus:
        mover.start()
        assert until(lambda: operator.positions()[0] > 0.3)
        driver.send_signal(signal.SIGTERM)
        while driver.poll() is None:
            frame = bus.recv(0.05)
            if frame is not None and frame.arbitration_id == protocol.JOINTS[0]:
                angles.append(float(protocol.unpack_angles(bytes(frame.data))[0]))
        mover.join()
    steps_rad = np.abs(np.diff(angles))
    assert driver.returncode == 0 and steps_rad.max() > 5e-4, "it moved when it was told to end"
    assert steps_rad[-1] < 1e-4, f"let go at {steps_rad[-1] / 0.005:.2f} rad/s"
    assert angles[-1] < 1.0


def drops(operator: Operator, text: str) -> bool:
    """Whether `status` tells of these dropped frames."""
    values = operator.statuses[-1].values if operator.statuses else []
    return any(item.key == "frames dropped" and text in item.value for item in values)


@pytest.mark.parametrize("faults", [["short_joint=2"], ["wide_joint=2"]], indirect=True)
def test_frames_that_give_no_value_are_no_pose_and_nothing_moves(
    driver: subprocess.Popen[bytes], operator: Operator, faults: list[str]
) -> None:
    """They were READY at [0, 0, 0], and enabling drove the arm there."""
    assert until(lambda: says(operator, "[32]", "joints 1-2 (0x2A5) (never"))
    refused = operator.call("enable")
    assert not refused.success and "never" in refused.message
    assert not operator.states
    tell_the_arm("clear")
    assert until(lambda: len(operator.states) > 20)
    np.testing.assert_allclose(operator.positions(), HOME, atol=2e-3)

    tell_the_arm("wild_value=0.7", "wild_joint=2")
    assert until(lambda: abs(operator.positions()[1] - 0.7) < 0.01)
    refused = operator.call("enable")
    assert not refused.success and "[33]" in refused.message
    assert "joint2 at 0.700, its motor (0x252) at 1.2" in refused.message
    tell_the_arm("clear")
    assert until(lambda: abs(operator.positions()[1] - HOME[1]) < 0.01)
    answer = operator.call("rearm")
    assert answer.success, answer.message
    operator.move(0, 0.1, 0.5)
    for state in operator.states:
        for at, home in zip(state.position[1:6], HOME[1:6], strict=True):
            assert abs(at - home) < 0.01 or at == pytest.approx(0.7, abs=1e-3)


def test_an_outlier_is_nowhere_a_run_is_a_fault_and_what_waited_is_old(
    driver: subprocess.Popen[bytes], operator: Operator
) -> None:
    assert operator.enable().success
    for value, said in (
        (34.9, "1 of 0x2A5 (joint1 at 34.9"),
        (0.98, "2 of 0x2A5 (joint1 from 0.0"),
    ):
        tell_the_arm(f"wild_value={value}", "wild_frames=1", "wild_joint=1")
        assert until(partial(drops, operator, said))
    operator.move(0, 0.3, 1.0)
    tell_the_arm("wild_status=2")
    assert until(partial(drops, operator, "2 of 0x2A1 (ctrl_mode 204"))
    assert until(lambda: abs(operator.positions()[0] - 0.3) < 0.01)
    assert operator.statuses[-1].level == DiagnosticStatus.OK
    assert max(state.position[0] for state in operator.states) < 0.35

    tell_the_arm("wild_value=0.9", "wild_joint=1")
    assert until(lambda: says(operator, "[37]", "5 frames in a row", "joint1 from 0.3", "to 0.900"))
    tell_the_arm("clear")
    assert operator.call("rearm").success

    driver.send_signal(signal.SIGSTOP)
    stopped_ns = CLOCK.now_ns()
    tell_the_arm("silent=1")
    silent_ns, count = CLOCK.now_ns(), len(operator.states)
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(1.5))
    driver.send_signal(signal.SIGCONT)
    assert until(lambda: says(operator, "[32]"))
    late_ns = [stamp_to_ns(state.header.stamp) for state in operator.states[count:]]
    assert all(stopped_ns - 1e9 < stamp_ns < silent_ns for stamp_ns in late_ns)


def test_two_writers_of_joint_command_are_refused_and_named(
    driver: subprocess.Popen[bytes], operator: Operator
) -> None:
    """266 changes of direction, and diagnostics that said OK."""
    assert operator.enable().success
    operator.move(0, 0.2, 0.5)
    rival = Node("rival", namespace="piper", context=operator.context)
    commands = rival.create_publisher(JointStateMsg, "joint_command", qos.COMMAND)
    assert until(lambda: says(operator, "[39]", "/piper/operator, /piper/rival", "joint_command"))
    assert until(lambda: abs(operator.positions()[0] - 0.2) < 0.01)
    for _ in range(50):
        for sign, publisher in ((1, operator.commands), (-1, commands)):
            goal = operator.positions()
            goal[0] += sign * 0.01
            command = JointCommand(PIPER.joint_names, goal, np.zeros(7), CLOCK.now_ns())
            publisher.publish(joint_command_to_msg(command))
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))
    assert abs(operator.positions()[0] - 0.2) < 0.01
    values = {item.key: item.value for item in operator.statuses[-1].values}
    assert int(values["set-points refused"]) > 20
    assert until(lambda: any("[39]" in m.status[0].message for m in operator.told if m.status))
    rival.destroy_node()
    assert until(lambda: operator.statuses[-1].level == DiagnosticStatus.OK)
    operator.move(0, 0.1, 0.5)
    assert until(lambda: abs(operator.positions()[0] - 0.3) < 0.01)


@pytest.mark.parametrize("step_s", [-60.0, 60.0])
def test_a_collision_is_seen_while_set_points_come_after_the_wall_clock_was_stepped(
    tmp_path: Path, operator: Operator, step_s: float
) -> None:
    with SteppedClock(tmp_path) as wall:
        surroundings = wall.environment(os.environ)
        with running_driver(tmp_path, surroundings=surroundings):
            assert operator.enable().success
            wall.step(step_s)
            began_ns = CLOCK.monotonic_ns()
            count, statuses = len(operator.states), len(operator.statuses)
            mover = threading.Thread(target=operator.move, args=(0, 0.4, 6.0))
            mover.start()
            try:
                assert until(lambda: len(operator.states) > count + 50, 5.0)
                assert until(lambda: len(operator.statuses) > statuses + 5, 5.0)
                # The middleware drops what a sender a minute behind sent: its lifespan is over.
                assert ("tracking" in operator.statuses[-1].message) is (step_s < 0)
                tell_the_arm("collision=2")
                assert until(lambda: says(operator, "[37]", "collision"), 5.0)
                assert mover.is_alive(), "set-points came to the end"
                told = len(operator.told)
                assert until(lambda: len(operator.told) > told, 5.0)
            finally:
                mover.join()
            assert CLOCK.monotonic_ns() - began_ns < seconds_to_ns(30.0)
            ahead_s = (stamp_to_ns(operator.states[-1].header.stamp) - CLOCK.now_ns()) / 1e9
            assert ahead_s == pytest.approx(step_s, abs=10.0)


def test_silence_is_seen_while_the_wall_clock_is_set_back(
    tmp_path: Path, operator: Operator
) -> None:
    """The thread that waits for frames also looks for faults: no step may keep it waiting."""
    with SteppedClock(tmp_path) as wall:
        surroundings = wall.environment(os.environ)
        with running_driver(tmp_path, surroundings=surroundings):
            assert operator.enable().success
            tell_the_arm("silent=1")
            for _ in range(40):
                wall.step(-60.0)
                CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))
            assert until(lambda: says(operator, "[32]"), 5.0)


def test_a_bus_that_cannot_be_told_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NODE, "--ros-args", "--params-file", "config/piper.yaml"],
        cwd=ROOT, capture_output=True, text=True, timeout=60.0,
        env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "ConfigError (10): set `adapter_serial`" in done.stderr
