"""Two simulated cells in two namespaces of one ROS domain, at work at the same time.

What moves here are goals of the executors. With `MVISTA_TWO_PLANNERS=1` each cell also plans a task
of its own by `mvista run --namespace`; two planners on two cores take minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory
from diagnostic_msgs.msg import DiagnosticArray
from mvista_interfaces.srv import EvaluateTask
from rclpy.context import Context
from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import JointState as JointStateMsg
from tf2_msgs.msg import TFMessage

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import Spec, started_rows
from mvista_bringup.options import option_values
from mvista_bringup.paths import config_file, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.arm import load_arm
from mvista_core.records import ActionTrajectory, Float64, Provenance
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient, call_action, call_service, succeeded
from mvista_ros.convert import joint_state_from_msg, trajectory_to_msg
from mvista_ros.spinning import spinning

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CLOCK = SystemClock()
PATIENCE_S = 180.0
CELLS = {"cell_a": "/cell_a", "cell_b": "cell_b"}
"""By its name, as it is asked for: a leading stroke is one too many, and means the same."""
SEEDS = {"cell_a": "0", "cell_b": "3"}
INSTRUCTION = "touch the red cube"
EVERYBODYS = {"/diagnostics", "/parameter_events", "/rosout"}
MOVING = tuple(row for row in SIM_DEMO if row.name in ("sim", "rig_publisher", "executor"))
ARM = load_arm(config_file("arms", "piper.yaml"))


class Hand(Node):
    """An operator in one cell: knows where its arm is, sends goals, hears what is everybody's."""

    def __init__(self, context: Context, cell: str) -> None:
        super().__init__("hand", namespace=cell, context=context)
        self.positions: list[Float64] = []
        self.frames: list[TFMessage] = []
        self.told: set[str] = set()
        self.create_subscription(JointStateMsg, "piper/joint_states", self._at, qos.SENSOR_IN)
        self.create_subscription(TFMessage, "tf_static", self.frames.append, qos.STATIC)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)
        self._goals = GoalClient(self, FollowJointTrajectory, "piper/follow_joint_trajectory")
        self._evaluate = self.create_client(EvaluateTask, "sim/evaluate_task")

    def swing(self, by_rad: float) -> None:
        """Turn the first joint of this cell's arm, in 3 s; returns when it is there."""
        start = self.positions[-1]
        ways = np.linspace(0.1, 1.0, 30)
        ways = ways * ways * (3.0 - 2.0 * ways)
        points = start + ways[:, None] * by_rad * np.eye(len(start))[0]
        asked = ActionTrajectory(
            ARM.joint_names, points, np.arange(1, 31) / 10.0, Provenance("plan", "sha", 0)
        )
        goal = FollowJointTrajectory.Goal(trajectory=trajectory_to_msg(asked))
        status, result = call_action(self._goals, goal, CLOCK, server_timeout_s=PATIENCE_S)
        assert succeeded(status), result.error_string

    def success(self) -> tuple[bool, str]:
        """Whether this cell's simulator sees the task done."""
        request = EvaluateTask.Request(instruction=INSTRUCTION)
        answer = call_service(self._evaluate, request, CLOCK, PATIENCE_S)
        return bool(answer.success), str(answer.detail)

    def _at(self, message: JointStateMsg) -> None:
        self.positions.append(joint_state_from_msg(message).ordered(ARM.joint_names))

    def _hear(self, message: DiagnosticArray) -> None:
        self.told |= {status.name for status in message.status}


@contextmanager
def cells(rows: tuple[Spec, ...], run_dir: Path) -> Iterator[tuple[Supervisor, dict[str, Hand]]]:
    """Both graphs up on one domain, a hand in each."""
    with ExitStack() as stack:
        supervisors: list[Supervisor] = []
        for cell, asked in CELLS.items():
            chosen = {"namespace": asked, "seed": SEEDS[cell]}
            values = option_values(SIM_DEMO_OPTIONS, chosen, str(share_root()))
            domain = supervisors[0].domain_id if supervisors else None
            supervisor = Supervisor(rows, values, run_dir / cell, domain)
            supervisors.append(stack.enter_context(supervisor))
        for supervisor in supervisors:
            supervisor.wait_ready(PATIENCE_S)
        domain = supervisors[0].domain_id
        hands = {
            cell: stack.enter_context(spinning(partial(Hand, cell=cell), domain)) for cell in CELLS
        }
        until(lambda: all(hand.positions and hand.frames for hand in hands.values()))
        yield supervisors[0], hands


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.02))


def ends_of(node: Node) -> list[tuple[str, list[TopicEndpointInfo]]]:
    """Every topic, and who publishes or listens there."""
    return [
        (
            topic,
            [
                *node.get_publishers_info_by_topic(topic),
                *node.get_subscriptions_info_by_topic(topic),
            ],
        )
        for topic, _ in node.get_topic_names_and_types()
    ]


def whole(end: TopicEndpointInfo) -> bool:
    """Whether it is known whose it is: an end may be heard of before its node."""
    return bool(end.node_namespace.startswith("/"))


def strangers(node: Node) -> set[str]:
    """Topics on which somebody of another cell, or of none, publishes or listens."""
    found = set()
    until(lambda: all(whole(end) for _, ends in ends_of(node) for end in ends))
    for topic, ends in ends_of(node):
        homes = {end.node_namespace.split("/")[1] for end in ends if whole(end)}
        if homes - {topic.split("/")[1]}:
            found.add(topic)
    return found


def names(rows: tuple[Spec, ...]) -> set[str]:
    """How both graphs sign their diagnostics."""
    found = set()
    for cell in CELLS:
        values = option_values(SIM_DEMO_OPTIONS, {"namespace": cell}, str(share_root()))
        found |= {row.full_name for row in started_rows(rows, values)}
    return found


def test_two_cells_share_a_domain_and_nothing_else(tmp_path: Path) -> None:
    with cells(MOVING, tmp_path) as (_, hands):
        one, other = hands.values()
        assert strangers(one) <= EVERYBODYS
        until(lambda: one.told >= names(MOVING))
        assert one.told == names(MOVING)
        for cell in CELLS:
            for topic in ("piper/joint_command", "piper/joint_states", "tf_static"):
                assert one.count_publishers(f"/{cell}/{topic}") == 1, topic
            assert one.count_subscribers(f"/{cell}/piper/joint_command") == 1
        assert one.count_publishers("/tf_static") == 0
        until(lambda: bool(one.positions and other.positions))  # both arms have been heard
        # One alone: the other's arm does not stir.
        stood, first = len(other.positions), other.positions[-1]
        one.swing(0.3)
        assert np.ptp(np.array([first, *other.positions[stood:]]), axis=0).max() < 0.005
        # Both at once, each its own way.
        starts = [hand.positions[-1] for hand in (one, other)]
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(one.swing, -0.4), pool.submit(other.swing, 0.2)]:
                done.result()
        until(lambda: abs(one.positions[-1][0] - starts[0][0] + 0.4) < 0.02)
        until(lambda: abs(other.positions[-1][0] - starts[1][0] - 0.2) < 0.02)
        assert strangers(one) <= EVERYBODYS


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("MVISTA_TWO_PLANNERS") != "1", reason="set MVISTA_TWO_PLANNERS=1"
)
def test_two_cells_do_two_tasks_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mvista_cli.cli", "run", INSTRUCTION, "--confirm", "false"]
    with cells(tuple(SIM_DEMO), tmp_path) as (_, hands):
        begun_ns = CLOCK.monotonic_ns()
        runs = {
            cell: subprocess.Popen(
                [*command, "--namespace", asked, "--wait", "60"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for cell, asked in CELLS.items()
        }
        said = {cell: run.communicate(timeout=400.0)[0] for cell, run in runs.items()}
        seconds = (CLOCK.monotonic_ns() - begun_ns) / 1e9
        print(f"both runs within {seconds:.1f} s", said)
        judged = {cell: hand.success() for cell, hand in hands.items()}
        print(judged)
        assert [run.returncode for run in runs.values()] == [0, 0], said
        assert all(success for success, _ in judged.values()), judged
        assert strangers(hands["cell_a"]) <= EVERYBODYS
