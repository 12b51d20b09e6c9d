"""The topics of one camera: images, camera info, previews."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image

from mvista_cameras.preview import preview, preview_factor
from mvista_cameras.records import Shot
from mvista_core.ports import Clock
from mvista_core.timing import seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.convert.image_bytes import image_to_bytes


class ShotPublisher:
    """Publishers below `prefix` ("" in the camera's namespace, "cam0/" elsewhere).

    Previews are made at most `preview_rate_hz` times a second, and previews and native depth only
    while somebody reads them.
    """

    def __init__(
        self,
        node: Node,
        prefix: str,
        preview_rate_hz: float,
        clock: Clock,
        native_depth: bool = False,
    ) -> None:
        def images(name: str) -> Publisher:
            return node.create_publisher(Image, f"{prefix}{name}", qos.SENSOR_OUT)

        self._clock = clock
        self._color, self._depth = images("color/image_raw"), images("depth/image_raw")
        self._info = node.create_publisher(CameraInfo, f"{prefix}color/camera_info", qos.SENSOR_OUT)
        self._native = images("depth/native") if native_depth else None
        self.preview_rate(preview_rate_hz)
        self._previewed_ns = clock.monotonic_ns() - self._preview_ns
        self._small_color, self._small_depth = images("color/preview"), images("depth/preview")
        self._small_info = node.create_publisher(
            CameraInfo, f"{prefix}color/preview_info", qos.SENSOR_OUT
        )

    def preview_rate(self, rate_hz: float) -> None:
        """At most so many previews a second from now on; 0: none."""
        self._preview_ns = seconds_to_ns(1 / rate_hz) if rate_hz else 0

    def publish(self, shot: Shot) -> None:
        """Send one shot, and its preview when one is due and read."""
        _send(shot, self._info, self._color, self._depth)
        if self._native is not None and shot.native_depth_mm is not None and _read(self._native):
            frame_id = f"{shot.camera}_depth_optical_frame"
            self._native.publish(
                image_to_bytes(shot.native_depth_mm, "16UC1", shot.stamp_ns, frame_id)
            )
        factor = preview_factor(shot.intrinsics)
        if factor and self._due() and (_read(self._small_color) or _read(self._small_depth)):
            small = preview(shot, factor)
            _send(small, self._small_info, self._small_color, self._small_depth)

    def _due(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        if not self._preview_ns or now_ns - self._previewed_ns < self._preview_ns:
            return False
        # Carried on in whole periods, so that the rate is kept on average.
        late_ns = (now_ns - self._previewed_ns) % self._preview_ns
        self._previewed_ns = now_ns - late_ns
        return True


def _send(shot: Shot, info: Publisher, color: Publisher, depth: Publisher) -> None:
    frame_id = convert.optical_frame(shot.camera)
    info.publish(convert.camera_info_to_msg(shot.intrinsics, shot.stamp_ns, frame_id))
    color.publish(image_to_bytes(shot.color, "rgb8", shot.stamp_ns, frame_id))
    depth.publish(image_to_bytes(shot.depth_mm, "16UC1", shot.stamp_ns, frame_id))


def _read(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())
