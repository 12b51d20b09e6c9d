"""What `ros2 lifecycle` does: the standard services of a managed node, called."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.msg import TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from mvista_core.timing import SystemClock, seconds_to_ns

CLOCK = SystemClock()
PATIENCE_S = 60.0


class LifecycleClient:
    """Asks for states and changes on a node that another thread spins; hears what came of them."""

    def __init__(self, node: Node, name: str) -> None:
        self.states_heard: list[str] = []
        self._change = node.create_client(ChangeState, f"{name}/change_state")
        self._get = node.create_client(GetState, f"{name}/get_state")
        node.create_subscription(TransitionEvent, f"{name}/transition_event", self._hear, 20)

    def state(self) -> str:
        return str(_answer(self._get, GetState.Request()).current_state.label)

    def change(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(_answer(self._change, request).success)

    def _hear(self, event: TransitionEvent) -> None:
        self.states_heard.append(event.goal_state.label)


def _answer(client: Any, request: Any) -> Any:
    assert client.wait_for_service(PATIENCE_S), f"no service {client.srv_name}"
    future = client.call_async(request)
    until_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
    while not future.done():
        assert CLOCK.monotonic_ns() < until_ns, f"{client.srv_name} does not answer"
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))
    return future.result()
