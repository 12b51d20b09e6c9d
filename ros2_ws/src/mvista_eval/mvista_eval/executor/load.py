"""Work for a whole graph: gentle motions without end, and a planner that is never idle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from mvista_interfaces.action import Imagine
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from mvista_core.arm import ArmModel
from mvista_core.episode_shape import TINY
from mvista_core.errors import MvistaError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.records import ActionTrajectory, Provenance
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.convert import error_from_outcome, trajectory_to_msg
from mvista_ros.spinning import take_down
from mvista_world.config import CAMERAS

REACH_RAD = 0.15
SERVER_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0


def gentle_motion(arm: ArmModel, number: int) -> ActionTrajectory:
    """As long as a plan: home and back, each joint up to `REACH_RAD`, another way each time."""
    times_s = TINY.action_times_s
    way = 0.5 * (1.0 - np.cos(2 * np.pi * times_s / times_s[-1]))
    reach = np.random.default_rng(number).uniform(-REACH_RAD, REACH_RAD, len(arm.joint_names))
    reach[len(arm.dh) :] = 0.0
    inside = np.clip(arm.home + way[:, None] * reach, arm.lower, arm.upper)
    return ActionTrajectory(arm.joint_names, inside, times_s, Provenance("bench", "", number))


class GraphLoad:
    """Two threads that keep executor and planner at work; use as a context manager."""

    def __init__(self, arm: ArmModel, instruction: str, clock: Clock, domain_id: int) -> None:
        self._arm, self._instruction, self._clock = arm, instruction, clock
        self._context = Context()
        self._context.init(domain_id=domain_id)
        self._node = Node("bench_load", context=self._context)
        self._follow = GoalClient(
            self._node, FollowJointTrajectory, "/piper/follow_joint_trajectory"
        )
        self._imagine = GoalClient(self._node, Imagine, "/imagine")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (
                ("load spin", self._executor.spin),
                ("load moving", lambda: self._again_and_again(self._move)),
                ("load imagining", lambda: self._again_and_again(self._plan)),
            )
        ]
        self.moved = self.imagined = 0
        self.errors: list[str] = []

    def __enter__(self) -> GraphLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        # A planner is let off only between two steps: it may take longer than anyone waits here.
        for thread in self._threads[1:]:
            thread.join(STOP_TIMEOUT_S)
        self._executor.shutdown(2.0)
        self._threads[0].join(2.0)
        take_down(self._node)
        self._context.try_shutdown()

    def _again_and_again(self, work: Callable[[int], None]) -> None:
        number = 0
        while not self._stopping.is_set():
            try:
                work(number)
            except InvalidHandle:
                if not self._stopping.is_set():  # else the node went away under a long call
                    raise
            except MvistaError as error:
                if not self._stopping.is_set():
                    self.errors.append(f"{type(error).__name__}: {error}")
                self._stopping.wait(1.0)
            number += 1

    def _move(self, number: int) -> None:
        motion = trajectory_to_msg(gentle_motion(self._arm, number))
        goal = FollowJointTrajectory.Goal(trajectory=motion)
        result = self._call(self._follow, goal)
        if result.error_code != FollowJointTrajectory.Result.SUCCESSFUL:
            if not self._stopping.is_set():
                raise UnavailableError(f"{result.error_code}: {result.error_string}")
            return
        self.moved += 1

    def _plan(self, number: int) -> None:
        goal = Imagine.Goal(
            instruction=self._instruction,
            source_camera=CAMERAS[0],
            target_cameras=list(CAMERAS[1:]),
            seed=number,
        )
        error = error_from_outcome(self._call(self._imagine, goal).outcome)
        if error is not None and not self._stopping.is_set():
            raise error
        self.imagined += error is None

    def _call(self, client: GoalClient, goal: Any) -> Any:
        _, result = call_action(
            client,
            goal,
            self._clock,
            keep_going=lambda: not self._stopping.is_set(),
            server_timeout_s=SERVER_TIMEOUT_S,
        )
        return result
