"""What the cameras saw and the arm did while a plan was carried out: subscribed only meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_cli.demo.record import JointSeries
from mvista_cli.demo.timeline import nearest
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame, JointState
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros import qos
from mvista_ros.beside import beside
from mvista_ros.convert import (
    frame_from_msgs,
    intrinsics_from_msg,
    joint_state_from_msg,
    stamp_to_ns,
)
from mvista_ros.listening import Listening
from mvista_ros.observation import CameraTopics


class ImageLog:
    """Colour and depth messages of one camera by capture stamp."""

    def __init__(self) -> None:
        self._color: dict[int, Image] = {}
        self._depth: dict[int, Image] = {}
        self._info: CameraInfo | None = None

    def add_color(self, message: Image) -> None:
        self._color[stamp_to_ns(message.header.stamp)] = message

    def add_depth(self, message: Image) -> None:
        self._depth[stamp_to_ns(message.header.stamp)] = message

    def add_info(self, message: CameraInfo) -> None:
        self._info = message

    def frame(self, camera: str, wanted_ns: int) -> CameraFrame | None:
        """The recorded frame nearest to an instant, None when none is near."""
        stamp_ns = nearest([s for s in self._color if s in self._depth], wanted_ns)
        if stamp_ns is None or self._info is None:
            return None
        intrinsics = intrinsics_from_msg(self._info)
        return frame_from_msgs(camera, self._color[stamp_ns], self._depth[stamp_ns], intrinsics)


class RunRecording:
    """Listens beside `node` from `start` to `stop`; both may be called again, and then do nothing.

    Call them from one thread at a time.
    """

    def __init__(self, node: Node, clock: Clock, cameras: Sequence[str], joint_topic: str) -> None:
        self._node = node
        self._listening = Listening(node, clock)
        self._joint_topic = joint_topic
        self._logs = {name: ImageLog() for name in cameras}
        self._states: list[JointState] = []
        self._open: ExitStack | None = None

    def start(self) -> None:
        """Begin to listen."""
        if self._open is not None:
            return
        self._open = ExitStack()
        ears = self._open.enter_context(beside(self._node, "recording"))
        hear = partial(self._listening.listen, profile=qos.SENSOR_IN, on=ears)
        for name, log in self._logs.items():
            topics = CameraTopics.of(name)
            hear(CameraInfo, topics.info, log.add_info)
            hear(Image, topics.color, log.add_color)
            hear(Image, topics.depth, log.add_depth)
        hear(JointStateMsg, self._joint_topic, self._add_joints)

    def stop(self) -> None:
        """Listen no more; what was heard is kept."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def measured(self, start_ns: int) -> JointSeries | None:
        """The recorded joint states, on a clock that is zero at `start_ns`."""
        states = list(self._states)
        if not states:
            return None
        times_s = np.array([ns_to_seconds(state.stamp_ns - start_ns) for state in states])
        names = states[0].names
        return JointSeries(names, times_s, np.stack([state.ordered(names) for state in states]))

    def frames(
        self, cameras: Sequence[str], start_ns: int, times_s: Sequence[float]
    ) -> list[list[CameraFrame | None]]:
        """Recorded frames [V][T] nearest to `start_ns` plus each time."""
        return [
            [self._logs[name].frame(name, start_ns + seconds_to_ns(float(t))) for t in times_s]
            for name in cameras
        ]

    def _add_joints(self, message: JointStateMsg) -> None:
        self._states.append(joint_state_from_msg(message))
