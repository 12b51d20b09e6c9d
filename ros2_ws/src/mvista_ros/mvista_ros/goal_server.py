"""An action server that loses no cancel, whatever the order in which goals and cancels come."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Any

from rclpy.action import ActionServer
from rclpy.action.server import RCLError

KEPT_CANCELS = 100
"""Ids of cancelled goals that are remembered: a goal that comes later than that is of yesterday."""


class GoalServer(ActionServer):
    """rclpy's action server, for callbacks that are plain functions.

    The middleware brings a goal and its cancel on two ways, and rclpy 9.1 takes one of each at a
    time, on any thread of its executor: a cancel that names its goal by id can be looked at before
    that goal. Its client is told that the goal is unknown, and the goal runs though nobody waits
    for it. Here every goal that waits is taken before a cancel, and one that comes later than its
    cancel is refused.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._one_at_a_time = threading.Lock()
        self._cancelled: deque[bytes] = deque(maxlen=KEPT_CANCELS)
        super().__init__(*args, **kwargs)

    def take_data(self) -> dict[str, Any]:
        """As rclpy's; with a cancel come all goals that wait."""
        data: dict[str, Any] = super().take_data()
        data["goals"] = [data.pop("goal")] if "goal" in data else []
        while "cancel" in data and (goal := self._next_goal())[0]:
            data["goals"].append(goal)
        return data

    async def execute(self, taken_data: dict[str, Any]) -> None:
        """As rclpy's; called by the executor with what has come."""
        for goal in taken_data.pop("goals"):
            with self._one_at_a_time:
                if bytes(goal[1].goal_id.uuid) in self._cancelled:
                    self._refuse(goal[0])
                else:
                    await super().execute({"goal": goal})
        with self._one_at_a_time:
            if "cancel" in taken_data:
                self._cancelled.append(bytes(taken_data["cancel"][1].goal_info.goal_id.uuid))
            await super().execute(taken_data)

    def _next_goal(self) -> Any:
        """The request's header and the goal's message, or two None."""
        with self._lock:
            return self._handle.take_goal_request(self._action_type.Impl.SendGoalService.Request)

    def _refuse(self, header: Any) -> None:
        # As rclpy does: a client that is gone hears no answer.
        with self._lock, suppress(RCLError):
            response = self._action_type.Impl.SendGoalService.Response(accepted=False)
            self._handle.send_goal_response(header, response)
