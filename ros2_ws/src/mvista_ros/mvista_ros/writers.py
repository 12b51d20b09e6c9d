"""One writer per topic of set-points: whoever else writes it is counted, named and refused.

Two programs that stream to one arm mix their set-points, and each looks right by itself. So the
reader asks the graph who publishes, and each message by whom it was sent:

    self._writers = SoleWriter(self, JointState, "joint_command", self._on_command, self._refuse)

Two publishers of differently named nodes are refused as soon as the graph knows of them. Two of the
same name are an ERROR, and refused once both have written: one of them may be a process that was
killed, which the middleware forgets only after its lease (Fast DDS: 4 s by config/dds/fastdds.xml,
20 s without).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from rclpy.qos import QoSProfile

from mvista_core.errors import RivalWritersError
from mvista_core.timing import seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level

LOOK_EVERY_S = 0.5
"""How often the graph is asked."""

Identity = bytes
"""The middleware's name of one publisher (its GID)."""


@dataclass(frozen=True)
class Writer:
    """One publisher of the topic: the full name of its node, and the publisher's own identity."""

    node: str
    identity: Identity


class Writers:
    """Who writes one topic, as the graph and the messages say. Pure; one thread at a time."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._there: tuple[Writer, ...] = ()
        self._heard: set[Identity] = set()
        self._knows_senders = True

    @property
    def there(self) -> tuple[Writer, ...]:
        """The publishers that the graph knows of."""
        return self._there

    def see(self, there: Iterable[Writer]) -> None:
        """What the graph says now. Who left it is forgotten."""
        self._there = tuple(sorted(there, key=lambda writer: (writer.node, writer.identity)))
        known = {writer.identity for writer in self._there}
        if len(known) <= 1:
            self._heard &= known

    def hear(self, sender: Identity | None) -> None:
        """A message came; None: the middleware does not say from whom."""
        if sender is None:
            self._knows_senders = False
        else:
            self._heard.add(sender)

    @property
    def trouble(self) -> RivalWritersError | None:
        """Why the topic is not in order: more than one publisher, or more than one sender."""
        if len(self._there) <= 1 and len(self._heard) <= 1:
            return None
        count = max(len(self._there), len(self._heard))
        nodes = ", ".join(writer.node for writer in self._there) or "unknown"
        return RivalWritersError(
            f"{count} publishers of {self._topic} ({nodes}); one is allowed: two would mix their "
            f"set-points. End all but one (`ros2 topic info -v {self._topic}`); a process that was "
            "killed is forgotten after its lease: 4 s by config/dds/fastdds.xml, else 20 s"
        )

    @property
    def refusal(self) -> RivalWritersError | None:
        """Why no set-point is taken now, None while there is one writer."""
        names = {writer.node for writer in self._there}
        one_name = len(names) <= 1 and self._knows_senders
        if one_name and len(self._heard) <= 1:
            return None
        return self.trouble


class SoleWriter:
    """A subscription that takes set-points from one writer and refuses them from two.

    Call `look` often, from a timer of the node: the graph is asked at a bounded rate.
    """

    def __init__(
        self,
        node: HouseNode,
        kind: Any,
        topic: str,
        handle: Callable[[Any], object],
        refuse: Callable[[RivalWritersError], object],
        profile: QoSProfile = qos.COMMAND,
    ) -> None:
        """`handle` gets each message of a sole writer, `refuse` the reason for each other one."""
        self._node, self._handle, self._refuse = node, handle, refuse
        self._name = node.resolve_topic_name(topic)
        self._looked_ns: int | None = None
        self.writers = Writers(self._name)
        node.listen(kind, topic, self._take, profile, sender=True)

    def graded(self, health: Health) -> Health:
        """The node's health; an ERROR that names the writers while there are several."""
        self.look()
        trouble = self.writers.trouble
        count = (f"publishers of {self._name}", str(len(self.writers.there)))
        health = replace(health, values=(*health.values, count))
        if trouble is None:
            return health
        message = f"[{trouble.code}] {trouble}; {health.message}"
        return replace(health, level=Level.ERROR, message=message, error=trouble)

    def look(self) -> None:
        """Ask the graph who publishes, if that was not done in the last `LOOK_EVERY_S`."""
        now_ns = self._node.system_clock.monotonic_ns()
        if self._looked_ns is not None and now_ns - self._looked_ns < seconds_to_ns(LOOK_EVERY_S):
            return
        self._looked_ns = now_ns
        self.writers.see(
            Writer(
                f"{found.node_namespace.rstrip('/')}/{found.node_name}", bytes(found.endpoint_gid)
            )
            for found in self._node.get_publishers_info_by_topic(self._name)
        )

    def _take(self, message: Any, sender: Identity | None) -> None:
        self.writers.hear(sender)
        refusal = self.writers.refusal
        if refusal is None:
            self._handle(message)
        else:
            self._refuse(refusal)
