"""Whatever goal is sent, the executor lives on, answers with a number, and keeps every limit."""

from __future__ import annotations

import itertools
import re
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory
from numpy.random import Generator
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.records import JointState
from mvista_core.timing import ns_to_seconds
from mvista_executor.executor_node import ExecutorNode
from mvista_ros import convert, qos
from mvista_ros.actions import GoalClient
from mvista_ros.spinning import spinning
from tests.executor.rig import smooth_points, trajectory_of
from tests.fuzz.messages import spoiled
from tests.fuzz.nodes import ARM, CLOCK, ROOT, alive, files, pause, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

GOALS = 60
NUMBERED = re.compile(r"^\[\d+(\.\d+)?\] ")
STATE_PERIOD_S = 0.005


class Follower(Node):
    """An arm that is where the newest set-point says, and keeps all of them."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("arm", namespace="piper", **arguments)
        self.positions = ARM.home.copy()
        self.sent: list[tuple[float, np.ndarray]] = []
        self._states = self.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        self.create_subscription(JointStateMsg, "joint_command", self._follow, qos.COMMAND)
        self.client = GoalClient(self, FollowJointTrajectory, "follow_joint_trajectory")
        self.stopping = threading.Event()

    def _follow(self, message: JointStateMsg) -> None:
        command = convert.joint_command_from_msg(message)
        self.positions = command.positions
        self.sent.append((ns_to_seconds(command.stamp_ns), command.positions))

    def tell(self) -> None:
        """Joint states at 200 Hz, on a thread of their own."""
        still = np.zeros(len(ARM.joint_names))
        while not self.stopping.is_set():
            state = JointState(ARM.joint_names, self.positions, still, CLOCK.now_ns())
            self._states.publish(convert.joint_state_to_msg(state))
            pause(STATE_PERIOD_S)


def hostile_goal(rng: Generator, here: np.ndarray) -> FollowJointTrajectory.Goal:
    """A short goal near the arm, as it should be or with parts spoiled."""
    count = int(rng.integers(2, 12))
    points = here + 0.1 * (smooth_points(ARM, int(rng.integers(1000)), count) - ARM.home)
    points = np.clip(points, ARM.lower, ARM.upper)
    times_s = np.cumsum(rng.uniform(0.02, 0.2, count))
    goal = FollowJointTrajectory.Goal(
        trajectory=convert.trajectory_to_msg(trajectory_of(ARM, points, times_s))
    )
    share = float(rng.choice([0.0, 0.02, 0.1, 0.4]))
    return spoiled(goal, rng, share)


def outcome(follower: Follower, goal: Any, rng: Generator) -> tuple[int, str] | None:
    """Send it, cancel what lasts; code and words, or None where it was not accepted."""
    future = follower.client.send_goal_async(goal)
    until(future.done)
    handle = future.result()
    if not handle.accepted:
        return None
    result = handle.get_result_async()
    for _ in range(int(rng.integers(5, 60))):
        if result.done():
            break
        pause(0.01)
    if not result.done():
        handle.cancel_goal_async()
    until(result.done)
    answer = result.result().result
    return int(answer.error_code), str(answer.error_string)


def test_no_goal_ends_the_executor_or_leaves_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    rng = np.random.default_rng(5)
    arguments = [*files("config/executor.yaml"), "-r", "__ns:=/piper", "-p", "stale_after_s:=1.0"]
    with (
        alive(ExecutorNode, *arguments) as target,
        spinning(partial(Follower), target.domain_id) as follower,
    ):
        teller = threading.Thread(target=follower.tell, daemon=True)
        teller.start()
        try:
            assert follower.client.wait_for_server(20.0)
            until(lambda: follower.count_subscribers("joint_states") > 0)
            pause(0.5)
            answers = []
            for _ in range(GOALS):
                answers.append(outcome(follower, hostile_goal(rng, follower.positions), rng))
                target.check()
        finally:
            follower.stopping.set()
            teller.join(5.0)
        sent = list(follower.sent)
    told = [answer for answer in answers if answer is not None]
    assert all(code == 0 or NUMBERED.match(words) for code, words in told), told
    assert sum(code == 0 for code, _ in told) >= 3 and sum(code != 0 for code, _ in told) >= 10
    assert_limits(sent)


def assert_limits(sent: list[tuple[float, np.ndarray]]) -> None:
    """Position always; speed between set-points by their own stamps."""
    assert len(sent) > 100
    for _, positions in sent:
        assert ((positions >= ARM.lower - 1e-9) & (positions <= ARM.upper + 1e-9)).all()
    for (before_s, before), (after_s, after) in itertools.pairwise(sent):
        bound = ARM.max_velocity * max(after_s - before_s, 0.0) * 1.001 + 1e-9
        assert (np.abs(after - before) <= bound).all(), (after_s, after - before)
