"""A client on a running graph: sends tasks, and knows how fast the arm moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mvista_interfaces.action import Imagine, RunTask
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_bringup.graph.spec import Entry, with_parameters
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import MvistaError
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.convert import error_from_outcome
from mvista_ros.spinning import spinning

CLOCK = SystemClock()
FOUND_WITHIN_S = 60.0
"""A busy machine's processes find each other late."""


def with_steps(graph: Sequence[Entry], steps: int) -> list[Entry]:
    """The same graph, its task node optimising for so many steps: tests need no better plan."""
    return with_parameters(graph, "task", steps=steps)


class Operator(Node):
    """Sends tasks, and knows how fast the arm moves."""

    def __init__(self, context: Context) -> None:
        super().__init__("operator", context=context)
        self._tasks = GoalClient(self, RunTask, "run_task")
        self._imagine = GoalClient(self, Imagine, "imagine")
        self.speed = self.fastest = 0.0
        self.create_subscription(JointStateMsg, "piper/joint_states", self._hear, qos.SENSOR_IN)

    def run_task(
        self,
        instruction: str,
        on_stage: Callable[[str, float], None] = lambda stage, fraction: None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> tuple[RunTask.Result, MvistaError | None]:
        goal = RunTask.Goal(instruction=instruction, seed=1, best_of=1)

        def hear(feedback: RunTask.Feedback) -> None:
            on_stage(feedback.stage, feedback.progress)

        _, result = call_action(self._tasks, goal, CLOCK, hear, keep_going)
        return result, error_from_outcome(result.outcome)

    def finds_the_task_server(self) -> bool:
        """Whether there is one, after a second at most."""
        return self._tasks.wait_for_server(timeout_sec=1.0)

    def imagine(self, instruction: str) -> MvistaError | None:
        goal = Imagine.Goal(instruction=instruction, source_camera="cam1", target_cameras=["cam0"])
        _, result = call_action(self._imagine, goal, CLOCK)
        return error_from_outcome(result.outcome)

    def _hear(self, message: JointStateMsg) -> None:
        self.speed = max((abs(v) for v in message.velocity), default=0.0)
        self.fastest = max(self.fastest, self.speed)


@contextmanager
def operating(graph: Supervisor) -> Iterator[Operator]:
    """An operator that listens in a thread of its own, and has found who takes tasks."""
    with spinning(Operator, graph.domain_id) as node:
        until_ns = CLOCK.monotonic_ns() + seconds_to_ns(FOUND_WITHIN_S)
        while not node.finds_the_task_server():
            graph.check()
            assert CLOCK.monotonic_ns() < until_ns, f"no run_task within {FOUND_WITHIN_S:g} s"
        yield node
