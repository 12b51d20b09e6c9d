"""A real publisher and a real subscriber: frames pair over DDS, a silent camera is named in 2 s."""

from __future__ import annotations

import time

import pytest
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.errors import CameraSilentError, StaleFeedbackError
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.convert import joint_state_to_msg
from mvista_ros.observation import SILENCE_S, CameraTopics, ObservationSource
from tests.ros.test_observation import RIG, frame_messages, joints_at
from tests.ros.typing_aliases import Spin

pytestmark = pytest.mark.ros

CLOCK = SystemClock()


class _Cameras(Node):
    def __init__(self, cameras: tuple[str, ...], silent_s: float = 0.0) -> None:
        super().__init__("cameras")
        self._silent_until_ns = CLOCK.monotonic_ns() + seconds_to_ns(silent_s)
        topics = [CameraTopics.of(camera) for camera in cameras]
        self._out = [
            (
                self.create_publisher(CameraInfo, names.info, qos.SENSOR_OUT),
                self.create_publisher(Image, names.color, qos.SENSOR_OUT),
                self.create_publisher(Image, names.depth, qos.SENSOR_OUT),
            )
            for names in topics
        ]
        self._joints = self.create_publisher(JointStateMsg, "piper/joint_states", qos.SENSOR_OUT)
        self.create_timer(1 / 15, self._tick)

    def _tick(self) -> None:
        if CLOCK.monotonic_ns() < self._silent_until_ns:
            return
        stamp_ns = CLOCK.now_ns()
        self._joints.publish(joint_state_to_msg(joints_at(stamp_ns)))
        for publishers in self._out:
            for publisher, message in zip(publishers, frame_messages(stamp_ns), strict=True):
                publisher.publish(message)


def test_frames_newer_than_asked_arrive(spinning: Spin) -> None:
    source = ObservationSource(spinning(Node("eyes")), RIG, CLOCK)
    spinning(_Cameras(RIG.names))
    source.observe(0, timeout_s=10.0)  # discovery
    asked_ns = CLOCK.now_ns()
    seen = source.observe(asked_ns, "open the drawer")
    assert all(frame.stamp_ns > asked_ns for frame in seen.frames)
    assert {frame.camera for frame in seen.frames} == {"cam0", "cam1"}


def test_cameras_that_are_slow_to_notice_their_listener_are_waited_for(spinning: Spin) -> None:
    node = Node("eyes")
    source = ObservationSource(spinning(node), RIG, CLOCK)
    spinning(_Cameras(RIG.names, silent_s=SILENCE_S + 2.0))
    topics = ("cam0/color/image_raw", "cam1/depth/image_raw", "piper/joint_states")
    until_s = time.monotonic() + 60.0
    while not all(map(node.count_publishers, topics)) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert len(source.observe(CLOCK.now_ns()).frames) == 2


def test_a_silent_camera_is_named(spinning: Spin) -> None:
    source = ObservationSource(spinning(Node("eyes")), RIG, CLOCK)
    spinning(_Cameras(("cam0",)))
    start_s = time.monotonic()
    with pytest.raises(CameraSilentError, match="cam1/color/image_raw"):
        source.observe(CLOCK.now_ns())
    # That it is 2 s is held by the injected clock; a busy machine may take longer to wake up.
    assert time.monotonic() - start_s < 10.0


def test_nobody_listens_before_or_after_a_look(spinning: Spin) -> None:
    node = Node("eyes")
    source = ObservationSource(spinning(node), RIG, CLOCK)
    cameras = _Cameras(RIG.names)
    spinning(cameras)
    publishers = [publisher for row in cameras._out for publisher in row] + [cameras._joints]

    def listeners() -> list[int]:
        return [publisher.get_subscription_count() for publisher in publishers]

    heard: list[list[int]] = []
    source.buffer.add_joints = lambda state: heard.append(listeners())  # type: ignore[method-assign]
    assert listeners() == [0] * len(publishers)
    for _ in range(3):
        with pytest.raises(StaleFeedbackError):
            source.observe(CLOCK.now_ns(), timeout_s=1.0)
        assert heard.pop() == [1] * len(publishers)
        deadline_s = time.monotonic() + 10.0
        while any(listeners()) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert listeners() == [0] * len(publishers)
    assert [name for name in node.get_node_names() if name.endswith("eyes_eyes")] == []
