"""An operator's client of a running graph: sends one task, answers its question, cancels it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from mvista_interfaces.action import RunTask
from rclpy.node import Node
from std_srvs.srv import SetBool

from mvista_bringup.graph.spec import absolute
from mvista_core.ports import Clock
from mvista_core.records import AS_TRAINED, ImagineOptions
from mvista_ros.actions import GoalClient, call_action, call_service
from mvista_ros.convert import options_to_goal, raise_outcome
from mvista_ros.spinning import spinning

CONFIRM = "confirm"
"""The stage at which the plan waits for the operator, and the service that answers."""
CALL = 'ros2 service call {service} std_srvs/srv/SetBool "{{data: true}}"'


@dataclass(frozen=True)
class AskedTask:
    """What is asked for; empty cameras are the task node's own."""

    instruction: str
    source_camera: str
    target_cameras: tuple[str, ...]
    seed: int
    confirm: bool
    options: ImagineOptions = AS_TRAINED


class TaskClient:
    """Talks to the task node of the ROS domain this process is on."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._clock = clock
        self._tasks = GoalClient(node, RunTask, "run_task")
        self._confirm = node.create_client(SetBool, CONFIRM)

    def run(
        self,
        asked: AskedTask,
        wait_s: float,
        on_stage: Callable[[str, float], None],
        decide: Callable[[], bool | None],
        keep_going: Callable[[], bool],
    ) -> RunTask.Result:
        """Carry it out. `decide` is asked once, when the plan waits: None leaves it to others.

        Raises:
            MvistaError: what the stack refused it with; UnavailableError: no task node.
        """
        goal = RunTask.Goal(
            instruction=asked.instruction,
            source_camera=asked.source_camera,
            target_cameras=list(asked.target_cameras),
            seed=asked.seed,
            confirm=asked.confirm,
            **options_to_goal(asked.options),
        )
        waiting, decided = threading.Event(), threading.Event()

        def hear(feedback: RunTask.Feedback) -> None:
            if feedback.stage == CONFIRM:
                waiting.set()
            on_stage(feedback.stage, feedback.progress)

        def go_on() -> bool:
            if waiting.is_set() and not decided.is_set():
                decided.set()
                answer = decide()
                if answer is not None:
                    call_service(self._confirm, SetBool.Request(data=answer), self._clock)
            return keep_going()

        _, result = call_action(self._tasks, goal, self._clock, hear, go_on, wait_s)
        raise_outcome(result.outcome)
        return result


@contextmanager
def task_client(clock: Clock, namespace: str = "") -> Iterator[TaskClient]:
    """A client with a thread of its own, on the domain of the environment."""
    with spinning(partial(Node, "operator", namespace=namespace)) as node:
        yield TaskClient(node, clock)


def asked_at_the_terminal(namespace: str) -> bool | None:
    """The operator's yes or no; None without a terminal, after saying whom to call instead."""
    if not sys.stdin.isatty():
        call = CALL.format(service=absolute(namespace, CONFIRM))
        print(f"the plan waits for an operator: {call}", flush=True)
        return None
    return input("look at the plan; may the arm move? [y/N] ").strip().lower() == "y"
