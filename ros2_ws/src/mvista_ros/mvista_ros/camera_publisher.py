"""One camera's three topics, served by a node; nothing is prepared that nobody listens to."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from mvista_core.records import CameraFrame, Intrinsics
from mvista_ros import convert, qos
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.observation import CameraTopics


class CameraPublisher:
    """Publishers of colour, depth and camera info. Publish from one thread at a time."""

    def __init__(self, node: Node, camera: str) -> None:
        topics = CameraTopics.of(camera)
        self._frame_id = convert.optical_frame(camera)
        self._color = node.create_publisher(Image, topics.color, qos.SENSOR_OUT)
        self._depth = node.create_publisher(Image, topics.depth, qos.SENSOR_OUT)
        self._info = node.create_publisher(CameraInfo, topics.info, qos.SENSOR_OUT)
        self._intrinsics: Intrinsics | None = None
        self._message = CameraInfo()

    @property
    def watched(self) -> bool:
        """Whether anybody listens to any of the three now."""
        publishers = (self._color, self._depth, self._info)
        return any(publisher.get_subscription_count() for publisher in publishers)

    def publish(self, frame: CameraFrame) -> None:
        """Send one frame, all three with its stamp; an image only where somebody listens."""
        if frame.intrinsics != self._intrinsics:
            self._intrinsics = frame.intrinsics
            self._message = convert.camera_info_to_msg(frame.intrinsics, 0, self._frame_id)
        self._message.header.stamp = convert.ns_to_stamp(frame.stamp_ns)
        self._info.publish(self._message)
        if self._color.get_subscription_count():
            color = image_to_bytes(frame.color, "rgb8", frame.stamp_ns, self._frame_id)
            self._color.publish(color)
        if self._depth.get_subscription_count():
            depth = convert.depth_to_mm(frame.depth_m)
            self._depth.publish(image_to_bytes(depth, "16UC1", frame.stamp_ns, self._frame_id))
