"""The topics of one cell on the page; they are subscribed only while somebody looks.

While nobody does, this process is not even in the ROS graph. It hears by taking what waits in the
middleware, the newest of each topic, a few times a second: no callback runs, nothing is spun. It
writes nothing and asks nobody: no publisher (but rclpy's own /parameter_events), service or client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from mvista_core.ports import Clock
from mvista_core.timing import seconds_to_ns
from mvista_watch.cell_topics_node import Cell, CellTopics
from mvista_watch.cost import Cost
from mvista_watch.page import Page
from mvista_watch.show import Show

NAME = "watch"
COST_S = 5.0
"""How often a viewer is told what the page takes."""


def watch(
    page: Page,
    cell: Cell,
    cost: Cost,
    clock: Clock,
    came_or_went: threading.Event,
    tell: Callable[[str], None],
) -> None:
    """Show the cell to whoever opens the page, until this is interrupted.

    `came_or_went` is set by the page's callback; `tell` gets a line when the last viewer left.
    """
    while True:
        came_or_went.wait()
        came_or_went.clear()
        if not page.viewers:
            continue
        cost.add(watched=False)
        with listening_node(cell) as node:
            show = Show(CellTopics(node, cell, clock), page, cell, clock)
            told_ns = clock.monotonic_ns()
            while page.viewers:
                until_ns = show.step()
                now_ns = clock.monotonic_ns()
                if now_ns - told_ns >= seconds_to_ns(COST_S):
                    page.show_cost(cost.add(watched=True))
                    told_ns = now_ns
                clock.sleep_until(until_ns)
        cost.add(watched=True)
        tell(f"nobody looks any more; so far {cost}")


@contextmanager
def listening_node(cell: Cell) -> Iterator[Node]:
    """The node that hears: in a context of its own, and without what a node usually serves."""
    context = Context()
    context.init()
    try:
        node = Node(
            NAME,
            namespace=cell.namespace,
            context=context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        context.try_shutdown()
