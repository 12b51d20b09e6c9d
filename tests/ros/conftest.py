"""Spins real nodes for the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from mvista_ros.spinning import served, take_down


@pytest.fixture
def domain_id() -> int:
    """The domain of this test run; the processes it starts find it in their environment."""
    return int(os.environ["ROS_DOMAIN_ID"])


@pytest.fixture
def spinning(domain_id: int) -> Iterator[Callable[[Node], Node]]:
    """Call it with a node to have it spun by a multi-threaded executor until the test ends."""
    rclpy.init(domain_id=domain_id)
    executor = MultiThreadedExecutor(6)
    nodes: list[Node] = []

    def spin(node: Node) -> Node:
        nodes.append(node)
        executor.add_node(node)
        return node

    with served(executor, "test", 5.0):
        yield spin
    for node in nodes:
        take_down(node)
    rclpy.try_shutdown()
