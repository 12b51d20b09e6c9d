"""The robot's table without hardware, as real processes: a task, the operator, the display."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from nav_msgs.msg import Path as PathMsg
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import SetBool

from mvista_bringup import paths
from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.supervisor import Supervisor, free_udp_port
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import call_service
from mvista_ros.spinning import spinning
from tests.system.robot_operator import with_steps

CORES_NEEDED = 2
"""Real-time arm, driver and cell take more than one core."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        len(os.sched_getaffinity(0)) < CORES_NEEDED,
        reason=f"the whole emulated robot wants {CORES_NEEDED} cores",
    ),
]

START_TIMEOUT_S = 180.0
TASK_TIMEOUT_S = 240.0
WAIT_S = 60.0
ANSWER_TIMEOUT_S = 20.0
STEPS = 2
"""Of the optimisation: enough to go through it."""
CLOCK = SystemClock()
RUN = [sys.executable, "-c", "import sys; from mvista_cli.cli import main; sys.exit(main())"]
RVIZ_TYPES = {
    "Image": "sensor_msgs/msg/Image",
    "Marker": "visualization_msgs/msg/Marker",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Path": "nav_msgs/msg/Path",
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
}


@contextmanager
def running(folder: Path) -> Iterator[Supervisor]:
    chosen = {"hardware": "emulated", "rviz": "true", "can_port": str(free_udp_port())}
    values = option_values(REAL_ROBOT_OPTIONS, chosen, str(paths.share_root()))
    with Supervisor(with_steps(REAL_ROBOT, STEPS), values, folder) as supervisor:
        supervisor.wait_ready(START_TIMEOUT_S)
        yield supervisor


@pytest.fixture(scope="module")
def start() -> Callable[[Path], AbstractContextManager[Supervisor]]:
    return running


class Watcher:
    """What somebody at the screen hears, and the operator's word."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.paths: list[PathMsg] = []
        self.ghost: list[JointStateMsg] = []
        self.measured: list[JointStateMsg] = []
        for kind, topic, heard, profile in (
            (PathMsg, "piper/planned/path", self.paths, qos.STATIC),
            (JointStateMsg, "piper/planned/joint_states", self.ghost, qos.SENSOR_IN),
            (JointStateMsg, "piper/joint_states", self.measured, qos.SENSOR_IN),
        ):
            self.node.create_subscription(kind, topic, heard.append, profile)
        self._confirm = self.node.create_client(SetBool, "confirm")

    def topics(self) -> dict[str, list[str]]:
        return dict(self.node.get_topic_names_and_types())

    def answer(self, go: bool) -> bool:
        """Whether a task was waiting for it."""
        request = SetBool.Request(data=go)
        return bool(call_service(self._confirm, request, CLOCK, ANSWER_TIMEOUT_S).success)


@pytest.fixture
def watcher(graph: Supervisor) -> Iterator[Watcher]:
    with spinning(partial(Node, "watcher"), graph.domain_id) as node:
        yield Watcher(node)


def wait_until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(timeout_s)
    while not true() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.1))
    assert true()


def ask(graph: Supervisor, *words: str) -> subprocess.Popen[str]:
    """`mvista run ...` as an operator on the robot's domain."""
    return subprocess.Popen(
        [*RUN, "run", *words, "--best-of", "1"],
        env={**os.environ, "ROS_DOMAIN_ID": str(graph.domain_id)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_task_is_carried_out_and_shown(graph: Supervisor, watcher: Watcher) -> None:
    process = ask(graph, "touch the red cube", "--confirm", "false")
    said, _ = process.communicate(timeout=TASK_TIMEOUT_S)
    graph.check()
    assert process.returncode == 0, said
    assert "was carried out: imagine" in said, said
    wait_until(lambda: bool(watcher.paths and watcher.ghost))
    path = watcher.paths[-1]
    assert path.header.frame_id == "piper_base" and len(path.poses) > 10
    assert set(watcher.ghost[-1].name) == {*(f"joint{i}" for i in range(1, 7)), "gripper"}
    travelled = np.ptp([message.position for message in watcher.measured], axis=0)
    assert travelled.max() > 0.1, "the emulated arm moved"


def test_a_plan_that_the_operator_declines_does_not_move_the_arm(
    graph: Supervisor, watcher: Watcher
) -> None:
    process = ask(graph, "touch the red cube")
    try:
        declined: list[bool] = []

        def decline() -> bool:
            assert process.poll() is None or any(declined), process.communicate()[0]
            if not any(declined):
                declined.append(watcher.answer(False))
            return any(declined)

        wait_until(decline, TASK_TIMEOUT_S)
        said, _ = process.communicate(timeout=TASK_TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 2, said
    assert "waits for an operator" in said and "declined" in said, said
    graph.check()


def test_an_instruction_nobody_knows_is_refused_with_the_reason(graph: Supervisor) -> None:
    process = ask(graph, "dance", "--confirm", "false")
    said, _ = process.communicate(timeout=TASK_TIMEOUT_S)
    assert process.returncode == 2 and 'unknown instruction "dance"' in said, said


def test_what_rviz_subscribes_to_is_published_with_that_type(watcher: Watcher) -> None:
    file = Path(paths.share_root()) / "config" / "rviz" / "mvista4d.rviz"
    displays = list(yaml.safe_load(file.read_text())["Visualization Manager"]["Displays"])
    wanted: dict[str, str] = {}
    while displays:
        display = displays.pop()
        displays += display.get("Displays", [])
        kind = display["Class"].split("/")[1]
        if kind in RVIZ_TYPES:
            wanted[display["Topic"]["Value"]] = RVIZ_TYPES[kind]
        elif kind == "DepthCloud":
            wanted[display["Depth Map Topic"]] = wanted[display["Color Image Topic"]] = (
                "sensor_msgs/msg/Image"
            )
            wanted[display["CameraInfo Topic"]] = "sensor_msgs/msg/CameraInfo"
    assert len(wanted) > 10

    def missing() -> set[tuple[str, str]]:
        there = watcher.topics()
        return {(name, kind) for name, kind in wanted.items() if kind not in there.get(name, [])}

    # Types are heard of from subscribers too, so publishers may be discovered later.
    wait_until(lambda: not missing() and all(map(watcher.node.count_publishers, wanted)))
