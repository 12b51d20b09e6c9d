"""One camera into the recorder: by its tap, or by its topics as long as it has none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

from mvista_core.errors import MvistaError
from mvista_recorder.camera_feed import CameraFeed
from mvista_recorder.tap_feed import TapFeed
from mvista_recorder.topic_feed import ImageKind, TopicFeed
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.convert import intrinsics_from_msg
from mvista_ros.observation import CameraTopics


class CameraInput:
    """Hears one camera from the beginning; `look` now and then chooses the way.

    One way at a time: a camera whose topics are read decodes every image and registers every depth,
    36 ms of a core a capture where its tap takes 2.6 (README of mvista_cameras).
    """

    def __init__(self, node: HouseNode, feed: CameraFeed) -> None:
        self._node, self._feed = node, feed
        self._names = CameraTopics.of(feed.name)
        place = node.resolve_topic_name(feed.name).strip("/")
        self._tap = TapFeed(feed, place, node.system_clock)
        self._lock = threading.Lock()
        self._closed = False
        self._topics: TopicFeed | None = None
        self._subscriptions: list[Subscription] = []

    @property
    def trouble(self) -> str:
        """What is wrong with its tap, in words; "" nothing. Of its topics the node tells it."""
        return self._tap.trouble

    def look(self) -> None:
        """Let go of the topics when the tap is up, take them where there is none."""
        with self._lock:
            if self._closed:
                return
            if self._tap.connected:
                self._let_go()
            elif self._topics is None and self._published():
                self._hear_topics()

    def close(self) -> None:
        """Stop reading. The subscriptions go with the node: its executor may be among them."""
        with self._lock:
            self._closed = True
            feeds = [self._tap, self._topics]
        for feed in feeds:
            if feed is not None:
                feed.close()

    def _published(self) -> bool:
        return bool(self._node.count_publishers(self._full(self._names.color)))

    def _full(self, topic: str) -> str:
        return str(self._node.resolve_topic_name(topic))

    def _let_go(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        feed, self._topics = self._topics, None
        if feed is not None:
            feed.close()

    def _hear_topics(self) -> None:
        names, tap, listen = self._names, self._tap, self._node.listen
        feed = self._topics = TopicFeed(self._feed, self._refuse)

        # A tap may come up between two looks: the same image is not recorded twice.
        def unless_tapped(take: Callable[[Any], None], message: Any) -> None:
            if not tap.connected:
                take(message)

        lens = partial(unless_tapped, lambda said: feed.lens(intrinsics_from_msg(said)))
        self._subscriptions = [
            listen(CameraInfo, names.info, lens, qos.SENSOR_IN),
            # Raw: the executor's thread passes bytes on, and the feed's own compresses.
            *(
                listen(Image, topic, partial(unless_tapped, take), qos.SENSOR_ALL_IN, raw=True)
                for topic, take in ((names.color, feed.color), (names.depth, feed.depth))
            ),
        ]

    def _refuse(self, kind: ImageKind, error: MvistaError) -> None:
        topic = self._names.color if kind is ImageKind.COLOR else self._names.depth
        self._node.listening.drop(self._full(topic), error)
