"""A node in a program: heard while the block runs, gone after it, never silent about a bug."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from mvista_interfaces.action import Imagine
from rclpy.action import ActionClient, ActionServer
from rclpy.node import Node
from std_msgs.msg import Int32

from mvista_bringup.supervisor import free_domain_id
from mvista_ros.beside import beside
from mvista_ros.spinning import spinning

pytestmark = [pytest.mark.system, pytest.mark.beside]


def _hear(node: Node, topic: str, handle: Any) -> None:
    node.create_subscription(Int32, topic, handle, 10)


def _send(node: Node, topic: str, until: threading.Event) -> None:
    publisher = node.create_publisher(Int32, topic, 10)
    for _ in range(1000):
        publisher.publish(Int32(data=1))
        if until.wait(0.02):
            return
    raise AssertionError("nothing was heard within 20 s")


def test_what_a_callback_raises_is_raised_where_the_node_is_used() -> None:
    heard = threading.Event()

    def fail(message: Int32) -> None:
        heard.set()
        raise KeyError("a bug of ours")

    with pytest.raises(KeyError, match="a bug of ours"), _pair(fail) as sender:
        _send(sender, "numbers", heard)


def test_a_bug_beside_a_node_is_told_before_what_it_caused() -> None:
    heard = threading.Event()

    def fail(message: Int32) -> None:
        heard.set()
        raise KeyError("a bug of ours")

    with (
        spinning(partial(Node, "owner"), free_domain_id()) as owner,
        pytest.raises(KeyError, match="a bug of ours"),
        beside(owner, "eyes") as eyes,
    ):
        _hear(eyes, "numbers", fail)
        _send(owner, "numbers", heard)
        raise TimeoutError("nothing came")


def _pair(handle: Any) -> Any:
    def build(**arguments: Any) -> Node:
        node = Node("both", **arguments)
        _hear(node, "numbers", handle)
        return node

    return spinning(build, free_domain_id())


def test_a_node_that_is_gone_leaves_no_action_on_the_graph() -> None:
    """A server that nobody serves any more would be found, and answer nothing."""
    domain_id = free_domain_id()

    def serving(**arguments: Any) -> Node:
        node = Node("server", **arguments)
        ActionServer(node, Imagine, "imagine", lambda goal: Imagine.Result())
        ActionClient(node, Imagine, "imagine")
        return node

    with spinning(partial(Node, "onlooker"), domain_id) as onlooker:

        def wait_for(servers: int) -> None:
            for _ in range(3000):
                if onlooker.count_publishers("imagine/_action/status") == servers:
                    return
                threading.Event().wait(0.02)
            raise AssertionError(f"never {servers} servers")

        with spinning(serving, domain_id):
            wait_for(1)
        wait_for(0)
