"""A node inside an ordinary program: a ROS context of its own, served by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rclpy.action import ActionClient, ActionServer
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node

STOP_S = 5.0
"""How long callbacks that still run are waited for."""

AnyNode = TypeVar("AnyNode", bound=Node)


@contextmanager
def served(executor: Executor, name: str, stop_s: float) -> Iterator[None]:
    """Spin on a thread of its own until the block is left.

    What left a callback ends that thread only; it is raised when the block is left, whatever else
    the block ended with, since that is the cause.
    """
    failures: list[BaseException] = []
    stopping = threading.Event()

    def spin() -> None:
        try:
            executor.spin()
        except (InvalidHandle, AttributeError) as error:
            # `shutdown` took away what rclpy's last callback still held (9.1: its guard is None).
            if not stopping.is_set():
                failures.append(error)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=spin, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        executor.shutdown(stop_s)
        thread.join(stop_s)
        if failures:
            raise failures[0]


def take_down(node: Node) -> None:
    """Destroy a node with its actions, which `destroy_node` leaves on the graph, and it with them:
    others would go on to find a server that answers nobody."""
    for action in [w for w in node.waitables if isinstance(w, (ActionClient, ActionServer))]:
        action.destroy()
    node.destroy_node()


@contextmanager
def spinning(
    build: Callable[..., AnyNode], domain_id: int | None = None, threads: int = 1
) -> Iterator[AnyNode]:
    """`with spinning(Operator) as node:`; the node hears until the block is left, then is gone.

    `build` is called with `context=`: a node's class, or a partial of one. `domain_id` None is the
    environment's; `threads` above 1 takes a multi-threaded executor.
    """
    context = Context()
    context.init(domain_id=domain_id)
    try:
        node = build(context=context)
        executor = (
            MultiThreadedExecutor(threads, context=context)
            if threads > 1
            else SingleThreadedExecutor(context=context)
        )
        executor.add_node(node)
        try:
            with served(executor, node.get_name(), STOP_S):
                yield node
        finally:
            take_down(node)
    finally:
        context.try_shutdown()
