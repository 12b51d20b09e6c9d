"""`GoalServer`: goals and cancels that come in any order, forced by a server that does not spin."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from action_msgs.srv import CancelGoal
from mvista_interfaces.action import Imagine
from rclpy.action import CancelResponse
from rclpy.action.client import ClientGoalHandle
from rclpy.action.server import ServerGoalHandle
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from unique_identifier_msgs.msg import UUID

from mvista_core.timing import SystemClock
from mvista_ros.actions import GoalClient
from mvista_ros.goal_server import GoalServer
from mvista_ros.spinning import served, spinning

pytestmark = pytest.mark.ros

CLOCK = SystemClock()
WAIT_S = 10.0
ALL = UUID()
SETTLE_S = 0.5
"""In which what was sent has come to a server that does not look."""


class Server:
    """Accepts every goal and keeps it, unanswered, until it is cancelled."""

    def __init__(self, node: Node) -> None:
        self.node, self.accepted, self.cancelled = node, list[bytes](), list[bytes]()
        self.action = GoalServer(
            node,
            Imagine,
            "imagine",
            execute_callback=self._execute,
            handle_accepted_callback=lambda goal: self.accepted.append(_id(goal)),
            cancel_callback=self._cancel,
        )

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        self.cancelled.append(_id(goal))
        return CancelResponse.ACCEPT

    def _execute(self, goal: ServerGoalHandle) -> Imagine.Result:
        raise AssertionError("nothing is carried out here")


def _id(goal: ServerGoalHandle) -> bytes:
    return bytes(goal.goal_id.uuid)


class Client(Node):
    """Sends goals and cancels by their ids, each when it is told to."""

    def __init__(self, context: Any) -> None:
        super().__init__("client", context=context)
        self.goals = GoalClient(self, Imagine, "imagine")

    def send(self, goal_id: UUID) -> Any:
        return self.goals.send_goal_async(Imagine.Goal(), goal_uuid=goal_id)

    def cancel(self, goal_id: UUID) -> Any:
        return ClientGoalHandle(self.goals, goal_id, None).cancel_goal_async()


@pytest.fixture
def server() -> Iterator[Server]:
    """Not spun yet."""
    with spinning(partial(Node, "idle")) as idle:
        node = Node("server", context=idle.context)
        server = Server(node)
        yield server
        server.action.destroy()
        node.destroy_node()


@pytest.fixture
def client() -> Iterator[Client]:
    with spinning(Client) as client:
        yield client


def a_goal() -> UUID:
    return UUID(uuid=list(uuid.uuid4().bytes))


def settle() -> None:
    CLOCK.sleep_until(CLOCK.monotonic_ns() + round(SETTLE_S * 1e9))


def until(condition: Callable[[], bool]) -> bool:
    deadline_ns = CLOCK.monotonic_ns() + round(WAIT_S * 1e9)
    while not condition() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 10_000_000)
    return condition()


def single(context: Any) -> Executor:
    return SingleThreadedExecutor(context=context)


def several(context: Any) -> Executor:
    return MultiThreadedExecutor(4, context=context)


@pytest.mark.parametrize("kind", [single, several])
@pytest.mark.parametrize("count", [2, 5])
def test_a_cancel_that_waits_beside_several_goals_finds_its_own(
    server: Server, client: Client, kind: Callable[[Any], Executor], count: int
) -> None:
    assert client.goals.wait_for_server(WAIT_S)
    names = [a_goal() for _ in range(count)]
    sent = [client.send(name) for name in names]
    answer = client.cancel(names[-1])
    settle()
    executor = kind(server.node.context)
    executor.add_node(server.node)
    with served(executor, "server", 5.0):
        assert until(lambda: answer.done() and all(future.done() for future in sent))
    assert answer.result().return_code == CancelGoal.Response.ERROR_NONE
    assert server.accepted == [bytes(name.uuid) for name in names]
    assert server.cancelled == [bytes(names[-1].uuid)]


@pytest.mark.parametrize("kind", [single, several])
def test_a_goal_that_comes_after_its_cancel_is_refused(
    server: Server, client: Client, kind: Callable[[Any], Executor]
) -> None:
    assert client.goals.wait_for_server(WAIT_S)
    cancelled, other = a_goal(), a_goal()
    executor = kind(server.node.context)
    executor.add_node(server.node)
    with served(executor, "server", 5.0):
        answer = client.cancel(cancelled)
        assert until(answer.done)
        assert answer.result().return_code == CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID
        sent = [client.send(cancelled), client.send(other)]
        assert until(lambda: all(future.done() for future in sent))
    assert [future.result().accepted for future in sent] == [False, True]
    assert server.accepted == [bytes(other.uuid)] and not server.cancelled


def test_a_cancel_of_all_reaches_those_that_wait(server: Server, client: Client) -> None:
    assert client.goals.wait_for_server(WAIT_S)
    names = [a_goal() for _ in range(3)]
    sent = [client.send(name) for name in names]
    answer = client.cancel(ALL)
    settle()
    executor = single(server.node.context)
    executor.add_node(server.node)
    with served(executor, "server", 5.0):
        assert until(lambda: answer.done() and all(future.done() for future in sent))
    assert sorted(server.cancelled) == sorted(bytes(name.uuid) for name in names)
