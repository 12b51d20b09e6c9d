"""Observations: frames of the rig's cameras and the joints, newer than asked for, or a named error.

`ObservationBuffer` is the logic and knows no node; `ObservationSource` feeds it from topics.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.errors import CameraSilentError, ObservationError, StaleFeedbackError
from mvista_core.ports import Clock
from mvista_core.records import (
    CameraFrame,
    Intrinsics,
    JointState,
    Observation,
    RigCalibration,
    lens_shift_px,
)
from mvista_core.timing import ns_to_seconds, read_clocks, seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.beside import beside
from mvista_ros.convert import (
    check_color_msg,
    check_depth_msg,
    frame_from_msgs,
    intrinsics_from_msg,
    joint_state_from_msg,
    stamp_to_ns,
)
from mvista_ros.listening import Listening
from mvista_ros.pairing import STEP_NS, Pair, StampPairing
from mvista_ros.parameters import parameter

SILENCE_S = 1.8
"""How long a topic may be silent: the error must reach the caller within 2 s."""
DISCOVERY_S = 6.0
"""How long one that somebody serves may be: who sends it must first find out that we listen, which
has taken over 2 s on a busy machine."""

PAIRING_TOLERANCE_S = 0.005
"""Registered colour and depth carry one stamp; drivers that stamp them apart stay below this."""

JOINT_HISTORY = 200
POLL_PERIOD_S = 0.01
LEAST_STEP_NS = seconds_to_ns(0.01)
"""A wall clock that moved less against the steady one was not set."""


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


@dataclass(frozen=True)
class ObservationLimits:
    """What may be in an observation: parameters of every node that takes one."""

    pairing_tolerance_s: float = parameter(
        PAIRING_TOLERANCE_S, "Colour and depth of one frame differ by at most this", 0.0, 0.033
    )
    future_tolerance_s: float = parameter(
        0.1, "A stamp farther ahead of this machine's clock is of another clock", 0.0, 10.0
    )
    joints_within_s: float = parameter(
        0.2, "Joints measured farther from the frames are not theirs", 0.005, 1.0
    )
    lens_shift_limit: float = parameter(
        0.02, "Largest shift of an image point from the rig's lens, of the image's width", 0.0, 1.0
    )


@dataclass
class _Heard:
    """When a topic last delivered (steady clock) and the stamp that it carried."""

    arrived_ns: int = -1
    stamp_ns: int = 0


@dataclass
class _CameraFeed:
    topics: CameraTopics
    pairing: StampPairing[Image]
    intrinsics: Intrinsics | None = None
    color: _Heard = field(default_factory=_Heard)
    depth: _Heard = field(default_factory=_Heard)
    info: _Heard = field(default_factory=_Heard)

    def heard(self) -> dict[str, _Heard]:
        """By topic."""
        topics = self.topics
        return {topics.color: self.color, topics.depth: self.depth, topics.info: self.info}


@dataclass(frozen=True)
class _Window:
    """Which stamps (wall time) and arrivals (steady time) count for one question."""

    earliest_ns: int
    latest_ns: int
    asked_ns: int

    def holds(self, stamp_ns: int, arrived_ns: int) -> bool:
        return self.earliest_ns < stamp_ns <= self.latest_ns and arrived_ns >= self.asked_ns


@dataclass
class ObservationBuffer:
    """Thread-safe: messages come in from callbacks, `wait` is called from a worker thread.

    Images are kept as messages and converted only when an observation is asked for. `add_...` raise
    an `ObservationError` for a message that cannot be used, and keep nothing of it.
    """

    rig: RigCalibration
    clock: Clock
    joint_topic: str
    cameras: Sequence[str] = ()
    limits: ObservationLimits = ObservationLimits()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.cameras = tuple(self.cameras) or self.rig.names
        tolerance_ns = seconds_to_ns(self.limits.pairing_tolerance_s)
        self._feeds = {
            self.rig.camera(name).name: _CameraFeed(
                CameraTopics.of(name), StampPairing(tolerance_ns)
            )
            for name in self.cameras
        }
        self._joints: deque[tuple[JointState, int]] = deque(maxlen=JOINT_HISTORY)
        self._joints_heard = _Heard()

    def add_color(self, camera: str, message: Image) -> None:
        """A colour image of one camera arrived."""
        check_color_msg(message)
        stamp_ns, arrived_ns = stamp_to_ns(message.header.stamp), self.clock.monotonic_ns()
        with self._lock:
            feed = self._feeds[camera]
            feed.color = _Heard(arrived_ns, stamp_ns)
            self._refuse_future(stamp_ns)
            feed.pairing.add_color(stamp_ns, message, arrived_ns)

    def add_depth(self, camera: str, message: Image) -> None:
        """A depth image of one camera arrived."""
        check_depth_msg(message)
        stamp_ns, arrived_ns = stamp_to_ns(message.header.stamp), self.clock.monotonic_ns()
        with self._lock:
            feed = self._feeds[camera]
            feed.depth = _Heard(arrived_ns, stamp_ns)
            self._refuse_future(stamp_ns)
            feed.pairing.add_depth(stamp_ns, message, arrived_ns)

    def add_info(self, camera: str, message: CameraInfo) -> None:
        """A camera info of one camera arrived."""
        lens = intrinsics_from_msg(message)
        heard = _Heard(self.clock.monotonic_ns(), stamp_to_ns(message.header.stamp))
        with self._lock:
            self._feeds[camera].intrinsics, self._feeds[camera].info = lens, heard

    def add_joints(self, state: JointState) -> None:
        """Joint feedback arrived; it begins afresh when its stamps go back."""
        arrived_ns = self.clock.monotonic_ns()
        with self._lock:
            self._joints_heard = _Heard(arrived_ns, state.stamp_ns)
            self._refuse_future(state.stamp_ns)
            if self._joints and state.stamp_ns < self._joints[-1][0].stamp_ns - STEP_NS:
                self._joints.clear()
            self._joints.append((state, arrived_ns))

    def wait(
        self, newer_than_ns: int, instruction: str = "", timeout_s: float = SILENCE_S
    ) -> Observation:
        """The first observation all of whose frames were captured after `newer_than_ns`.

        Everything in it has arrived since this call began and is stamped neither before
        `newer_than_ns` (which moves with a wall clock that is set meanwhile) nor in the future.
        Joints are those measured nearest to the frames.

        Raises:
            CameraSilentError: a camera topic gave nothing new in time; the message names it.
            StaleFeedbackError: the joint topic gave nothing new in time.
            ObservationError: stamps of another clock, colour and depth that never carry one stamp,
                a size or a lens that is not the rig's.
        """
        clock = self.clock
        asked_ns, wall_ns = read_clocks(clock)
        ahead_ns = wall_ns - asked_ns
        deadline_ns = asked_ns + seconds_to_ns(timeout_s)
        while True:
            now_ns = clock.monotonic_ns()
            window = self._window(newer_than_ns, asked_ns, ahead_ns)
            found = self._try(window)
            if found is not None:
                pairs, joints = found
                return self._observation(pairs, joints, instruction)
            if now_ns >= deadline_ns:
                raise self._missing(window, timeout_s)
            clock.sleep_until(min(deadline_ns, now_ns + seconds_to_ns(POLL_PERIOD_S)))

    def _refuse_future(self, stamp_ns: int) -> None:
        ahead_s = ns_to_seconds(stamp_ns - self.clock.now_ns())
        if ahead_s > self.limits.future_tolerance_s:
            raise ObservationError(
                f"stamped {ahead_s:.3f} s ahead of this machine's clock, at most "
                f"{self.limits.future_tolerance_s:g} s allowed (future_tolerance_s)"
            )

    def _window(self, newer_than_ns: int, asked_ns: int, ahead_ns: int) -> _Window:
        now_ns = self.clock.now_ns()
        stepped_ns = now_ns - self.clock.monotonic_ns() - ahead_ns
        if abs(stepped_ns) < LEAST_STEP_NS:
            stepped_ns = 0
        latest_ns = now_ns + seconds_to_ns(self.limits.future_tolerance_s)
        return _Window(newer_than_ns + stepped_ns, latest_ns, asked_ns)

    def _try(self, window: _Window) -> tuple[dict[str, Pair[Image]], JointState] | None:
        with self._lock:
            pairs: dict[str, Pair[Image]] = {}
            for name, feed in self._feeds.items():
                pair = feed.pairing.newer_than(window.earliest_ns)
                if pair is None or not window.holds(pair.stamp_ns, pair.arrived_ns):
                    return None
                if feed.intrinsics is None or feed.info.arrived_ns < window.asked_ns:
                    return None
                pairs[name] = pair
            middle_ns = sorted(pair.stamp_ns for pair in pairs.values())[len(pairs) // 2]
            fresh = [s for s, arrived_ns in self._joints if window.holds(s.stamp_ns, arrived_ns)]
        nearest = min(fresh, key=lambda state: abs(state.stamp_ns - middle_ns), default=None)
        within_ns = seconds_to_ns(self.limits.joints_within_s)
        if nearest is None or abs(nearest.stamp_ns - middle_ns) > within_ns:
            return None
        return pairs, nearest

    def _observation(
        self, pairs: dict[str, Pair[Image]], joints: JointState, instruction: str
    ) -> Observation:
        frames = tuple(self._frame(name, pair) for name, pair in pairs.items())
        return Observation(frames, joints, self.rig.content_hash, instruction)

    def _frame(self, camera: str, pair: Pair[Image]) -> CameraFrame:
        lens, topic = self._feeds[camera].intrinsics, self._feeds[camera].topics.info
        assert lens is not None
        rig = self.rig.camera(camera).intrinsics
        if (lens.width_px, lens.height_px) != (rig.width_px, rig.height_px):
            raise ObservationError(
                f"{topic}: {lens.width_px}x{lens.height_px}, "
                f"rig '{self.rig.name}' was calibrated at {rig.width_px}x{rig.height_px}"
            )
        shift_px, limit = lens_shift_px(rig, lens), self.limits.lens_shift_limit
        if not shift_px <= limit * rig.width_px:
            raise ObservationError(
                f"{topic}: this lens (fx {lens.fx_px:.1f}, fy {lens.fy_px:.1f}, cx "
                f"{lens.cx_px:.1f}, cy {lens.cy_px:.1f} px) is not the rig's (fx {rig.fx_px:.1f}, "
                f"fy {rig.fy_px:.1f}, cx {rig.cx_px:.1f}, cy {rig.cy_px:.1f}): points lie up to "
                f"{shift_px:.1f} px apart, at most {limit * rig.width_px:.1f} px allowed "
                f"(lens_shift_limit {limit:g} of the width); is it the camera that was calibrated, "
                "in the same mode? Else calibrate rig "
                f"'{self.rig.name}' anew"
            )
        return frame_from_msgs(camera, pair.color, pair.depth, lens)

    def _missing(self, window: _Window, timeout_s: float) -> ObservationError | StaleFeedbackError:
        now_ns = self.clock.monotonic_ns()
        alive_ns = max(window.asked_ns, now_ns - seconds_to_ns(timeout_s / 2))
        with self._lock:
            heard = {t: h for feed in self._feeds.values() for t, h in feed.heard().items()}
            joints = self._joints_heard
            apart = [_apart(feed) for feed in self._feeds.values() if not _pairs(feed, window)]
        silent = [topic for topic, one in heard.items() if one.arrived_ns < alive_ns]
        if silent:
            return CameraSilentError(
                f"nothing on {', '.join(silent)} for {timeout_s:g} s; is the camera node running "
                "on this ROS_DOMAIN_ID? (`ros2 topic hz`)"
            )
        infos = {feed.topics.info for feed in self._feeds.values()}
        images = {t: one.stamp_ns for t, one in heard.items() if t not in infos}
        if words := self._off(images, window):
            return ObservationError(words)
        if joints.arrived_ns < alive_ns:
            return StaleFeedbackError(f"nothing on {self.joint_topic} for {timeout_s:g} s")
        if words := self._off({self.joint_topic: joints.stamp_ns}, window):
            return StaleFeedbackError(words)
        if not apart:
            return StaleFeedbackError(
                f"{self.joint_topic}: no joints within {self.limits.joints_within_s:g} s of the "
                "frames by their stamps; do the arm's and the cameras' machines share a clock?"
            )
        return ObservationError(
            f"colour and depth never within {self.limits.pairing_tolerance_s * 1e3:g} ms of each "
            f"other (pairing_tolerance_s): {'; '.join(apart)}; registered depth carries its "
            "colour's stamp, else allow what its driver leaves between them"
        )

    def _off(self, stamps_ns: Mapping[str, int], window: _Window) -> str:
        """Which topics deliver, but with stamps that cannot be of now; "" where none does."""
        now_ns = self.clock.now_ns()
        off = [
            f"{topic} ({ns_to_seconds(stamp_ns - now_ns):+.3f} s)"
            for topic, stamp_ns in stamps_ns.items()
            if not window.earliest_ns < stamp_ns <= window.latest_ns
        ]
        if not off:
            return ""
        return (
            f"stamps of {', '.join(off)} are not of now by this machine's clock, at most "
            f"{self.limits.future_tolerance_s:g} s ahead are allowed (future_tolerance_s): do the "
            "machines share a clock (chrony or PTP), or was one set just now?"
        )


def _pairs(feed: _CameraFeed, window: _Window) -> bool:
    pair = feed.pairing.newer_than(window.earliest_ns)
    return pair is not None and window.holds(pair.stamp_ns, pair.arrived_ns)


def _apart(feed: _CameraFeed) -> str:
    apart_ns = feed.pairing.apart_ns
    nearest = "never side by side" if apart_ns is None else f"{apart_ns / 1e6:.1f} ms at best"
    return f"{feed.topics.color} and {feed.topics.depth} {nearest}"


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
        limits: ObservationLimits = ObservationLimits(),
    ) -> None:
        self.buffer = ObservationBuffer(rig, clock, joint_topic, cameras, limits)
        house = isinstance(node, HouseNode)
        self._listening = node.listening if house else Listening(node, clock)
        self._node = node
        self._looking = threading.Lock()

    def observe(
        self, newer_than_ns: int, instruction: str = "", timeout_s: float | None = None
    ) -> Observation:
        """See `ObservationBuffer.wait`. One look at a time; a second caller waits for the first.

        `timeout_s` None: `SILENCE_S`, or `DISCOVERY_S` where every topic has a publisher.
        """
        with self._looking, beside(self._node, "eyes") as eyes:
            for camera in self.buffer.cameras:
                topics = CameraTopics.of(camera)
                self._listen(eyes, CameraInfo, topics.info, partial(self.buffer.add_info, camera))
                self._listen(eyes, Image, topics.color, partial(self.buffer.add_color, camera))
                self._listen(eyes, Image, topics.depth, partial(self.buffer.add_depth, camera))
            self._listen(eyes, JointStateMsg, self.buffer.joint_topic, self._on_joints)
            patience_s = self._patience_s() if timeout_s is None else timeout_s
            return self.buffer.wait(newer_than_ns, instruction, patience_s)

    def _patience_s(self) -> float:
        topics = [self.buffer.joint_topic]
        for camera in self.buffer.cameras:
            names = CameraTopics.of(camera)
            topics += [names.info, names.color, names.depth]
        # The graph is asked by full names: it knows no remapping.
        full = map(self._node.resolve_topic_name, topics)
        return DISCOVERY_S if all(map(self._node.count_publishers, full)) else SILENCE_S

    def _on_joints(self, message: JointStateMsg) -> None:
        self.buffer.add_joints(joint_state_from_msg(message))

    def _listen(self, eyes: Node, kind: Any, topic: str, hear: Callable[[Any], None]) -> None:
        self._listening.listen(kind, topic, hear, qos.SENSOR_IN, on=eyes)
