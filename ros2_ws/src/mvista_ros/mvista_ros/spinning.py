"""A node inside an ordinary program: a ROS context of its own, served by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node

STOP_S = 5.0
"""How long callbacks that still run are waited for."""

AnyNode = TypeVar("AnyNode", bound=Node)


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
        thread = threading.Thread(target=executor.spin, name=node.get_name(), daemon=True)
        thread.start()
        try:
            yield node
        finally:
            executor.shutdown(STOP_S)
            thread.join(STOP_S)
            node.destroy_node()
    finally:
        context.try_shutdown()
