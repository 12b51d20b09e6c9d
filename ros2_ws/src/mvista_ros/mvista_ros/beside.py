"""A second node beside one that is spun already: for subscriptions that are wanted for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from mvista_ros.spinning import served

STOP_S = 2.0


@contextmanager
def beside(node: Node, suffix: str) -> Iterator[Node]:
    """A node `<name>_<suffix>` in `node`'s context, served by a thread of its own until the end.

    What listens all the time makes every sender work for nothing; but a subscription cannot be
    taken from a node that another thread spins: rclpy may be about to wait for it. Here the
    executor has ended before the node goes. Give it full names (`node.resolve_topic_name`): it
    knows no remappings.
    """
    helper = Node(
        f"{node.get_name()}_{suffix}",
        namespace=node.get_namespace(),
        context=node.context,
        use_global_arguments=False,
        enable_rosout=False,
        start_parameter_services=False,
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(helper)
    try:
        with served(executor, helper.get_name(), STOP_S):
            yield helper
    finally:
        helper.destroy_node()
