"""Observations: frames of the rig's cameras and the joints, newer than asked for, or a named error.

`ObservationBuffer` is the logic and knows no node; `ObservationSource` feeds it from topics.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.errors import CameraSilentError, ObservationError, StaleFeedbackError
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame, Intrinsics, JointState, Observation, RigCalibration
from mvista_core.timing import seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.beside import beside
from mvista_ros.convert import (
    frame_from_msgs,
    intrinsics_from_msg,
    joint_state_from_msg,
    stamp_to_ns,
)
from mvista_ros.listening import Listening
from mvista_ros.pairing import Pair, StampPairing

SILENCE_S = 1.8
"""How long a topic may be silent: the error must reach the caller within 2 s."""

PAIRING_TOLERANCE_S = 0.005
"""Registered colour and depth carry one stamp; drivers that stamp them apart stay below this."""

JOINT_HISTORY = 200
POLL_PERIOD_S = 0.01


@dataclass(frozen=True)
class CameraTopics:
    """Topic names of one camera, relative as DESIGN's graph gives them."""

    color: str
    depth: str
    info: str

    @classmethod
    def of(cls, camera: str) -> CameraTopics:
        """The names every camera backend serves."""
        return cls(
            f"{camera}/color/image_raw", f"{camera}/depth/image_raw", f"{camera}/color/camera_info"
        )


@dataclass
class _CameraFeed:
    topics: CameraTopics
    pairing: StampPairing[Image]
    intrinsics: Intrinsics | None = None

    def silent(self, newer_than_ns: int) -> list[str]:
        """Topics that delivered nothing captured after `newer_than_ns` (camera info: nothing)."""
        newest = {
            self.topics.color: self.pairing.newest_color_ns,
            self.topics.depth: self.pairing.newest_depth_ns,
        }
        found = [
            t for t, stamp_ns in newest.items() if stamp_ns is None or stamp_ns <= newer_than_ns
        ]
        return found if self.intrinsics is not None else [*found, self.topics.info]


@dataclass
class ObservationBuffer:
    """Thread-safe: messages come in from callbacks, `wait` is called from a worker thread.

    Images are kept as messages and converted only when an observation is asked for.
    """

    rig: RigCalibration
    clock: Clock
    joint_topic: str
    cameras: Sequence[str] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.cameras = tuple(self.cameras) or self.rig.names
        tolerance_ns = seconds_to_ns(PAIRING_TOLERANCE_S)
        self._feeds = {
            self.rig.camera(name).name: _CameraFeed(
                CameraTopics.of(name), StampPairing(tolerance_ns)
            )
            for name in self.cameras
        }
        self._joints: deque[JointState] = deque(maxlen=JOINT_HISTORY)

    def add_color(self, camera: str, message: Image) -> None:
        """A colour image of one camera arrived."""
        with self._lock:
            self._feeds[camera].pairing.add_color(stamp_to_ns(message.header.stamp), message)

    def add_depth(self, camera: str, message: Image) -> None:
        """A depth image of one camera arrived."""
        with self._lock:
            self._feeds[camera].pairing.add_depth(stamp_to_ns(message.header.stamp), message)

    def add_info(self, camera: str, message: CameraInfo) -> None:
        """A camera info of one camera arrived."""
        with self._lock:
            self._feeds[camera].intrinsics = intrinsics_from_msg(message)

    def add_joints(self, state: JointState) -> None:
        """Joint feedback arrived."""
        with self._lock:
            self._joints.append(state)

    def wait(
        self, newer_than_ns: int, instruction: str = "", timeout_s: float = SILENCE_S
    ) -> Observation:
        """The first observation all of whose frames were captured after `newer_than_ns`.

        Joints are those measured nearest to the frames.

        Raises:
            CameraSilentError: a camera topic gave nothing new in time; the message names it.
            StaleFeedbackError: the joint topic gave nothing new in time.
            ObservationError: colour and depth never carry one stamp, or a size is not the rig's.
        """
        deadline_ns = self.clock.monotonic_ns() + seconds_to_ns(timeout_s)
        while True:
            found = self._try(newer_than_ns)
            if found is not None:
                pairs, joints = found
                return self._observation(pairs, joints, instruction)
            now_ns = self.clock.monotonic_ns()
            if now_ns >= deadline_ns:
                raise self._missing(newer_than_ns, timeout_s)
            self.clock.sleep_until(min(deadline_ns, now_ns + seconds_to_ns(POLL_PERIOD_S)))

    def _try(self, newer_than_ns: int) -> tuple[dict[str, Pair[Image]], JointState] | None:
        with self._lock:
            pairs: dict[str, Pair[Image]] = {}
            for name, feed in self._feeds.items():
                pair = feed.pairing.newer_than(newer_than_ns)
                if pair is None or feed.intrinsics is None:
                    return None
                pairs[name] = pair
            middle_ns = sorted(pair.stamp_ns for pair in pairs.values())[len(pairs) // 2]
            fresh = [state for state in self._joints if state.stamp_ns > newer_than_ns]
        if not fresh:
            return None
        return pairs, min(fresh, key=lambda state: abs(state.stamp_ns - middle_ns))

    def _observation(
        self, pairs: dict[str, Pair[Image]], joints: JointState, instruction: str
    ) -> Observation:
        frames = tuple(self._frame(name, pair) for name, pair in pairs.items())
        return Observation(frames, joints, self.rig.content_hash, instruction)

    def _frame(self, camera: str, pair: Pair[Image]) -> CameraFrame:
        intrinsics = self._feeds[camera].intrinsics
        assert intrinsics is not None
        rig = self.rig.camera(camera).intrinsics
        if (intrinsics.width_px, intrinsics.height_px) != (rig.width_px, rig.height_px):
            raise ObservationError(
                f"{self._feeds[camera].topics.info}: {intrinsics.width_px}x{intrinsics.height_px}, "
                f"rig '{self.rig.name}' was calibrated at {rig.width_px}x{rig.height_px}"
            )
        return frame_from_msgs(camera, pair.color, pair.depth, intrinsics)

    def _missing(
        self, newer_than_ns: int, timeout_s: float
    ) -> ObservationError | StaleFeedbackError:
        with self._lock:
            silent = [t for feed in self._feeds.values() for t in feed.silent(newer_than_ns)]
            joints_came = any(state.stamp_ns > newer_than_ns for state in self._joints)
        if silent:
            return CameraSilentError(
                f"nothing on {', '.join(silent)} for {timeout_s:g} s; is the camera node running "
                "on this ROS_DOMAIN_ID? (`ros2 topic hz`)"
            )
        if not joints_came:
            return StaleFeedbackError(f"nothing on {self.joint_topic} for {timeout_s:g} s")
        apart = [
            f"{feed.topics.color} at {feed.pairing.newest_color_ns} ns and "
            f"{feed.topics.depth} at {feed.pairing.newest_depth_ns} ns"
            for feed in self._feeds.values()
            if feed.pairing.newer_than(newer_than_ns) is None
        ]
        return ObservationError(
            f"colour and depth never within {PAIRING_TOLERANCE_S * 1e3:g} ms of each other: "
            + "; ".join(apart)
        )


class ObservationSource:
    """Looks at the rig's cameras and an arm's joints; subscribed only while it looks.

    All cameras and 200 joint states a second cost a listener, and who sends them, a good part of a
    processor core, and an observation is wanted once a minute.
    """

    def __init__(
        self,
        node: Node,
        rig: RigCalibration,
        clock: Clock,
        joint_topic: str = "piper/joint_states",
        cameras: Sequence[str] = (),
    ) -> None:
        self.buffer = ObservationBuffer(rig, clock, joint_topic, cameras)
        house = isinstance(node, HouseNode)
        self._listening = node.listening if house else Listening(node, clock)
        self._node = node
        self._looking = threading.Lock()

    def observe(
        self, newer_than_ns: int, instruction: str = "", timeout_s: float = SILENCE_S
    ) -> Observation:
        """See `ObservationBuffer.wait`. One look at a time; a second caller waits for the first."""
        with self._looking, beside(self._node, "eyes") as eyes:
            for camera in self.buffer.cameras:
                topics = CameraTopics.of(camera)
                self._listen(eyes, CameraInfo, topics.info, partial(self.buffer.add_info, camera))
                self._listen(eyes, Image, topics.color, partial(self.buffer.add_color, camera))
                self._listen(eyes, Image, topics.depth, partial(self.buffer.add_depth, camera))
            self._listen(eyes, JointStateMsg, self.buffer.joint_topic, self._on_joints)
            return self.buffer.wait(newer_than_ns, instruction, timeout_s)

    def _on_joints(self, message: JointStateMsg) -> None:
        self.buffer.add_joints(joint_state_from_msg(message))

    def _listen(self, eyes: Node, kind: Any, topic: str, hear: Callable[[Any], None]) -> None:
        self._listening.listen(kind, topic, hear, qos.SENSOR_IN, on=eyes)
