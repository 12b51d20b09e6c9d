"""The one way to hear a topic: what cannot be used is dropped, counted and told, and ends nothing.

A message comes from another process, perhaps another maker's. That it is malformed is news about
its sender: the listener drops it, counts it by topic, warns at a bounded rate, and says so in its
health while it happens. `HouseNode.listen` is `Listening.listen`; plain nodes make their own.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import MessageInfo, Subscription

from mvista_core.errors import MvistaError, ObservationError
from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds, seconds_to_ns

R = TypeVar("R")

MALFORMED = (MvistaError, ValueError, TypeError, ArithmeticError, LookupError, struct.error)
"""What reading bad data raises. Anything else is a fault of this program and ends it as before."""

WARN_EVERY_S = 10.0
"""A topic is warned of at once, then no more often than this."""
RECENT_S = 5.0
"""For so long after a message was dropped the health says that it happens."""


@dataclass
class _Drops:
    count: int = 0
    reason: str = ""
    dropped_ns: int = 0
    warned_ns: int | None = None


class Listening:
    """The subscriptions of one node, and what was dropped from each. Thread-safe."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node, self._clock = node, clock
        self._drops: dict[str, _Drops] = {}
        self._lock = threading.Lock()

    def listen(
        self,
        kind: Any,
        topic: str,
        handle: Callable[..., object],
        profile: QoSProfile,
        group: CallbackGroup | None = None,
        raw: bool = False,
        sender: bool = False,
        on: Node | None = None,
    ) -> Subscription:
        """Call `handle` with every message of `topic`; one that it cannot use is dropped.

        `raw` hands over serialised bytes. `group` None is the node's own callback group. With
        `sender`, `handle` also gets the publisher's identity (its GID), None where not told. `on`
        is another node that subscribes for this one (`mvista_ros.beside`).
        """
        name = self._node.resolve_topic_name(topic)

        def hear(message: Any) -> None:
            self.judge(name, handle, message)

        def hear_whom(message: Any, told: MessageInfo) -> None:
            gid = told.get("publisher_gid")
            self.judge(
                name, lambda said: handle(said, bytes(gid["data"]) if gid else None), message
            )

        subscriber, said = (self._node, topic) if on is None else (on, name)
        return subscriber.create_subscription(
            kind, said, hear_whom if sender else hear, profile, callback_group=group, raw=raw
        )

    def queue(
        self, kind: Any, topic: str, read: Callable[[bytes], R], profile: QoSProfile
    ) -> Queue[R]:
        """A topic whose messages wait in the middleware, serialised, until they are taken."""
        return Queue(self, self._node, kind, topic, read, profile)

    def judge(self, topic: str, handle: Callable[[Any], R], message: Any) -> R | None:
        """What `handle` makes of a message; None for one that was dropped."""
        try:
            return handle(message)
        except MALFORMED as error:
            self.drop(topic, error)
            return None

    def drop(self, topic: str, error: Exception) -> None:
        """Count a message of `topic` that could not be used."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            drops = self._drops.setdefault(topic, _Drops())
            drops.count += 1
            drops.reason, drops.dropped_ns = _words(error), now_ns
            last_ns = drops.warned_ns
            tell = last_ns is None or now_ns - last_ns >= seconds_to_ns(WARN_EVERY_S)
            if tell:
                drops.warned_ns = now_ns
            count = drops.count
        if tell:
            self._node.get_logger().warning(
                f"{topic}: {count} malformed messages dropped so far, the newest: {_words(error)}"
            )

    def dropped(self, topic: str) -> int:
        """How many messages of a topic (as the graph names it) could not be used."""
        with self._lock:
            return self._drops[topic].count if topic in self._drops else 0

    def troubles(self) -> str:
        """Which topics send what cannot be used now, in words; empty while none does."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            recent = [
                f"{topic} ({drops.reason})"
                for topic, drops in self._drops.items()
                if ns_to_seconds(now_ns - drops.dropped_ns) < RECENT_S
            ]
        return f"dropping malformed messages of {'; '.join(recent)}" if recent else ""

    def values(self) -> tuple[tuple[str, str], ...]:
        """For /diagnostics: how many messages of each topic were dropped since the start."""
        with self._lock:
            return tuple(
                (f"dropped of {topic}", f"{drops.count} (newest: {drops.reason})")
                for topic, drops in self._drops.items()
            )


class _Shut(CallbackGroup):
    """A group that never lets a callback run: its messages are taken by hand."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing ever began."""


class Queue(Generic[R]):
    """Messages of one topic, left in the middleware until `take`; made by `Listening.queue`.

    For topics of hundreds of messages a second: no callback ever runs, which would cost several
    times what is done with a message.
    """

    def __init__(
        self,
        listening: Listening,
        node: Node,
        kind: Any,
        topic: str,
        read: Callable[[bytes], R],
        profile: QoSProfile,
    ) -> None:
        self.topic = node.resolve_topic_name(topic)
        self._listening, self._read = listening, read
        self._subscription = node.create_subscription(
            kind, topic, _never, profile, callback_group=_Shut(), raw=True
        )

    def take(self) -> list[R]:
        """All that waits, oldest first, without what could not be read."""
        return [read for read, _ in self.take_received()]

    def take_received(self) -> list[tuple[R, int]]:
        """As `take`, each with when the middleware received it, in ns of the wall clock."""
        judge = self._listening.judge
        found = [(judge(self.topic, self._read, data), at_ns) for data, at_ns in self._waiting()]
        return [(read, at_ns) for read, at_ns in found if read is not None]

    def _waiting(self) -> list[tuple[bytes, int]]:
        taken, kind = [], self._subscription.msg_type
        with self._subscription.handle:
            while (found := self._subscription.handle.take_message(kind, True)) is not None:
                data, told = found
                taken.append((data, int(told["received_timestamp"])))
        return taken


def message_from_bytes(data: bytes, kind: Any) -> Any:
    """A serialised message read whole.

    Raises:
        ObservationError: it is not one of this kind.
    """
    try:
        return deserialize_message(data, kind)
    except RuntimeError as error:
        raise ObservationError(f"{len(data)} bytes are no {kind.__name__}: {error}") from None


def _never(data: bytes) -> None:
    raise AssertionError("a shut group's callback ran")


def _words(error: Exception) -> str:
    if not isinstance(error, MvistaError):
        return f"{type(error).__name__}: {error}"
    return str(error) if str(error).startswith("[") else f"[{error.code}] {error}"
