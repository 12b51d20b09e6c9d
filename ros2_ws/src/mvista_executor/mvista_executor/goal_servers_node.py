"""The two ways to ask for a motion: control_msgs' action, and ours, which says whose plan it is."""

from __future__ import annotations

from functools import partial
from typing import Any

from control_msgs.action import FollowJointTrajectory
from mvista_interfaces.action import ExecutePlan
from rclpy.action import CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from mvista_executor import rivals
from mvista_executor.action_messages import Answer, progress_to_msg, result_to_msg
from mvista_executor.goal_queue import Ended, GoalQueue
from mvista_executor.report import Recording, Tick
from mvista_ros.goal_server import GoalServer

EXECUTE_PLAN = "execute_plan"


class GoalServers:
    """Both feed one queue: every goal is accepted and answered, so that a refusal has a reason."""

    def __init__(self, node: Node, goals: GoalQueue) -> None:
        self._node, self._goals = node, goals
        self._servers = [
            GoalServer(
                node,
                kind,
                name,
                execute_callback=self._conclude,
                goal_callback=self._accept,
                handle_accepted_callback=goals.offer,
                cancel_callback=self._cancel,
            )
            for kind, name in (
                (FollowJointTrajectory, rivals.SERVER),
                (ExecutePlan, EXECUTE_PLAN),
            )
        ]

    def tell(self, tick: Tick, recording: Recording) -> None:
        """Feedback for the goal that runs."""
        if (goal := self._goals.active) is not None:
            asked_s = self._goals.asked_s
            goal.publish_feedback(progress_to_msg(goal.request, tick, asked_s, recording))

    def conclude(self, ended: Ended) -> None:
        """Tell a goal's client how it ended."""
        ended.handle.execute(partial(self._conclude, ended=ended))

    def _accept(self, _request: Any) -> GoalResponse:
        return GoalResponse.REJECT if self._goals.closed else GoalResponse.ACCEPT

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        self._goals.cancel(goal)
        return CancelResponse.ACCEPT

    def _conclude(self, goal: ServerGoalHandle, ended: Ended | None = None) -> Answer:
        error = None if ended is None else ended.error
        if error is None:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            self._node.get_logger().error(f"{type(error).__name__}: {error}")
            goal.abort()
        self._goals.concluded()
        return result_to_msg(goal.request, error)
