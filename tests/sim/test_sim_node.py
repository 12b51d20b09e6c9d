"""The simulated cell as a real process behind the hardware's topics."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose
from mvista_interfaces.srv import EvaluateTask, MoveCamera, ResetScene
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import config_file, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, RigError
from mvista_core.records import JointCommand
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.actions import call_service
from mvista_ros.observation import ObservationSource
from mvista_ros.spinning import spinning

pytestmark = pytest.mark.system

CLOCK = SystemClock()
JOINT_STATES_ALONE = Path(__file__).with_name("client_of_joint_states.py")
READY_S = 60.0
MOVE_RAD = 0.15
TRACKING_RAD = 0.02
MOVE_TIMEOUT_S = 15.0
HEALTH_TIMEOUT_S = 30.0


class _Client(Node):
    """Sees what a planner and an executor see."""

    def __init__(self, context: Context) -> None:
        super().__init__("client", context=context)
        self.rig = load_rig(config_file("rigs", "sim_cell.yaml"))
        self.arm = load_arm(config_file("arms", "piper.yaml"))
        self.eyes = ObservationSource(self, self.rig, CLOCK)
        self.create_subscription(JointStateMsg, "piper/joint_states", self._on_state, qos.SENSOR_IN)
        self.publisher = self.create_publisher(JointStateMsg, "piper/joint_command", qos.COMMAND)
        self.angles_rad: list[float] = []
        self.told: dict[str, str] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, qos.STATUS)
        self._push = self.create_client(MoveCamera, "sim/move_camera")
        self._reset = self.create_client(ResetScene, "sim/reset_scene")
        self._evaluate = self.create_client(EvaluateTask, "sim/evaluate_task")

    def _on_state(self, message: JointStateMsg) -> None:
        self.angles_rad.append(message.position[0])

    def _on_health(self, message: DiagnosticArray) -> None:
        self.told.update({status.name: status.message for status in message.status})

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds; fails after a while."""
        deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(HEALTH_TIMEOUT_S)
        while not condition():
            assert CLOCK.monotonic_ns() < deadline_ns, f"no {what}; told: {self.told}"
            _pause(0.05)

    def message(self, positions: np.ndarray[Any, Any]) -> JointStateMsg:
        """A set-point of now."""
        velocities = np.zeros_like(positions)
        command = JointCommand(self.arm.joint_names, positions, velocities, CLOCK.now_ns())
        return convert.joint_command_to_msg(command)

    def push(self, camera: str, pose: Pose) -> Any:
        request = MoveCamera.Request(camera=camera, camera_from_moved=pose)
        return call_service(self._push, request, CLOCK, 20.0)

    def command(self, positions: np.ndarray[Any, Any], seconds: float) -> None:
        """Ask for positions [J] for a while, at 50 Hz."""
        for _ in range(round(seconds * 50)):
            self.publisher.publish(self.message(positions))
            _pause(0.02)

    def reset(self, task: str, seed: int) -> Any:
        return call_service(self._reset, ResetScene.Request(task=task, seed=seed), CLOCK, 20.0)

    def evaluate(self, instruction: str) -> Any:
        request = EvaluateTask.Request(instruction=instruction)
        return call_service(self._evaluate, request, CLOCK, 20.0)


def _pause(seconds: float) -> None:
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(seconds))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Client]:
    """A client beside the running sim node."""
    run_dir: Path = tmp_path_factory.mktemp("sim")
    values = option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))
    with Supervisor(SIM_DEMO[:1], values, run_dir) as supervisor:
        supervisor.wait_ready(READY_S)
        with spinning(_Client, supervisor.domain_id, threads=4) as node:
            node.eyes.observe(0, timeout_s=READY_S)  # discovery
            yield node


def test_every_camera_is_seen_with_true_stamps(client: _Client) -> None:
    asked_ns = CLOCK.now_ns()
    seen = client.eyes.observe(asked_ns)
    assert {frame.camera for frame in seen.frames} == set(client.rig.names)
    for frame in seen.frames:
        assert asked_ns < frame.stamp_ns <= CLOCK.now_ns()
        assert frame.intrinsics == client.rig.camera(frame.camera).intrinsics
        on_table = frame.depth_m[60:120, 100:220]
        assert 0.4 < np.median(on_table) < 1.2
        assert frame.color.std() > 10


def test_joint_states_keep_coming_between_images(client: _Client) -> None:
    client.eyes.observe(CLOCK.now_ns())
    asked = str(client.context.get_domain_id()), "2.0"
    command = [sys.executable, str(JOINT_STATES_ALONE), *asked]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True)
    gaps_s = np.diff(json.loads(done.stdout)) * 1e-9
    assert (gaps_s > 0).all()
    # 5 ms on a quiet machine. A rate would measure what else runs here; a long gap is starvation.
    assert len(gaps_s) > 20 and gaps_s.max() < 1.0


def test_the_arm_obeys_and_holds_when_commands_stop(client: _Client) -> None:
    start = client.eyes.observe(CLOCK.now_ns()).joints
    target = start.ordered(client.arm.joint_names)
    target[0] += MOVE_RAD
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(MOVE_TIMEOUT_S)
    reached = start.ordered(client.arm.joint_names)
    # A busy machine slows the cell down: ask until it has arrived.
    while np.abs(reached - target).max() > TRACKING_RAD and CLOCK.monotonic_ns() < deadline_ns:
        client.command(target, 0.5)
        reached = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    np.testing.assert_allclose(reached, target, atol=TRACKING_RAD)
    _pause(1.0)
    held = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    np.testing.assert_allclose(held, target, atol=TRACKING_RAD)


def test_a_command_with_nan_or_an_unknown_joint_moves_nothing(client: _Client) -> None:
    before = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    client.command(np.full(7, np.nan), 0.2)
    elbow = JointStateMsg(name=["joint1", "elbow"], position=[1.0, 1.0], velocity=[0.0, 0.0])
    client.publisher.publish(elbow)
    _pause(0.5)
    after = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    np.testing.assert_allclose(after, before, atol=2e-3)


def test_two_writers_are_refused_and_the_arm_holds(client: _Client) -> None:
    """Both stream, to places far apart; the arm must obey neither, and say so."""
    rival = Node("rival", context=client.context)
    second = rival.create_publisher(JointStateMsg, "piper/joint_command", qos.COMMAND)
    home = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    try:
        client.wait_for(lambda: "[39] 2 publishers" in client.told.get("/sim", ""), "an ERROR")
        client.angles_rad.clear()
        for step in range(300):
            for publisher, side in ((client.publisher, 1.0), (second, -1.0)):
                target = home.copy()
                target[0] += side * MOVE_RAD * min(1.0, step / 100)
                publisher.publish(client.message(target))
            _pause(0.01)
        moved = np.array(client.angles_rad) - home[0]
        assert len(moved) > 100 and np.abs(moved).max() < 0.01
        assert "/client" in client.told["/sim"] and "/rival" in client.told["/sim"]
    finally:
        rival.destroy_node()
    client.wait_for(lambda: "publishers" not in client.told["/sim"], "a sole writer")
    test_the_arm_obeys_and_holds_when_commands_stop(client)


@pytest.mark.parametrize(
    "message",
    [
        JointStateMsg(name=["joint1", "joint2"], position=[0.5]),
        JointStateMsg(name=["joint1"], position=[0.5], velocity=[0.0, 0.0]),
        JointStateMsg(name=["joint1", "joint1"], position=[0.5, 0.4]),
        JointStateMsg(name=["joint1", "nose"], position=[0.5, 0.4]),
        JointStateMsg(name=["joint1", "joint2"], position=[0.5, math.inf]),
        JointStateMsg(position=[0.5]),
        JointStateMsg(),
    ],
    ids=["short", "velocities", "twice", "unknown", "infinite", "nameless", "empty"],
)
def test_a_malformed_set_point_moves_nothing_and_ends_nothing(
    client: _Client, message: JointStateMsg
) -> None:
    before = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    for _ in range(10):
        client.publisher.publish(message)
        _pause(0.02)
    client.wait_for(lambda: "dropping malformed" in client.told["/sim"], "it in the health")
    after = client.eyes.observe(CLOCK.now_ns()).joints.ordered(client.arm.joint_names)
    np.testing.assert_allclose(after, before, atol=2e-3)


NAN = float("nan")


@pytest.mark.parametrize(
    ("camera", "place", "turn"),
    [
        ("cam9", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        ("", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        ("cam0", (NAN, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        ("cam0", (0.0, 0.0, math.inf), (0.0, 0.0, 0.0, 1.0)),
        ("cam0", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
        ("cam0", (0.0, 0.0, 0.0), (NAN, 0.0, 0.0, 1.0)),
    ],
)
def test_a_push_that_is_none_is_refused_with_a_number(
    client: _Client, camera: str, place: tuple[float, ...], turn: tuple[float, ...]
) -> None:
    before = client.eyes.observe(CLOCK.now_ns()).frame("cam0").color
    x, y, z = place
    pose = Pose(position=Point(x=x, y=y, z=z))
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = turn
    outcome = client.push(camera, pose).outcome
    assert outcome.code == RigError.code and outcome.message
    after = client.eyes.observe(CLOCK.now_ns()).frame("cam0").color
    assert np.abs(before.astype(int) - after).mean() < 1


@pytest.mark.parametrize("words", ["", "\u00e9\u4e16", "x" * 5000, "{}", "touch the"])
def test_no_words_end_the_node(client: _Client, words: str) -> None:
    assert client.reset(words, 2**32 - 1).outcome.code == ConfigError.code
    verdict = client.evaluate(words)
    assert verdict.detail and (words == "" or not verdict.success)


def test_a_reset_lays_the_scene_out_anew(client: _Client) -> None:
    answer = client.reset("open_drawer", 3)
    assert (answer.outcome.code, answer.instruction) == (0, "open the drawer")
    seen = client.eyes.observe(CLOCK.now_ns())
    assert client.evaluate("open the drawer").success is False
    client.reset("touch_cube", 0)
    other = client.eyes.observe(CLOCK.now_ns())
    changed = seen.frame("cam1").color.astype(int) - other.frame("cam1").color
    assert np.abs(changed).mean() > 1


def test_unknown_tasks_and_instructions_are_answered_with_what_is_known(client: _Client) -> None:
    answer = client.reset("fold_laundry", 0)
    assert answer.outcome.code == ConfigError.code
    assert "touch_cube" in answer.outcome.message
    verdict = client.evaluate("fold the laundry")
    assert not verdict.success and "touch the {red" in verdict.detail
