"""Joints, commands, status and diagnostics into the recorder: bytes that are never decoded.

They wait in the middleware until `take`: a callback for each of 800 a second cost half a core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mvista_recorder import schemas
from mvista_recorder.layout import Topic
from mvista_recorder.plans import message_class
from mvista_recorder.recorder import Recorder
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.listening import Queue


@dataclass(frozen=True)
class _Waiting:
    data: bytes
    stamp_ns: int | None


class SmallTopics:
    """Topics of one node, by name and type."""

    def __init__(self, node: HouseNode, recorder: Recorder) -> None:
        self._node, self._recorder = node, recorder
        self._queues: list[tuple[Topic, Queue[_Waiting]]] = []

    def hear(self, topic: Topic) -> None:
        """Record it from now on.

        Raises:
            MvistaError: its type is not known here.
        """
        kind, read = message_class(topic.type), partial(_read, schemas.has_header(topic.type))
        queue = self._node.listening.queue(kind, topic.name, read, qos.RECORD_IN)
        self._queues.append((topic, queue))

    def take(self) -> None:
        """Hand over what has come since the last time."""
        for topic, queue in self._queues:
            for said, received_ns in queue.take_received():
                # Without a header nobody says when it was: it counts as captured when received.
                capture_ns = received_ns if said.stamp_ns is None else said.stamp_ns
                self._recorder.hear(topic, capture_ns, said.data, log_ns=received_ns)


def _read(stamped: bool, data: bytes) -> _Waiting:
    return _Waiting(data, schemas.stamp_ns(data) if stamped else None)
