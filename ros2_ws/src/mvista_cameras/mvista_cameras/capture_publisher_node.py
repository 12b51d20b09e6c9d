"""The topics of one camera: images, camera info, previews."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image

from mvista_cameras.preview import Previews, preview_factor
from mvista_core.capture import Capture
from mvista_core.ports import Clock
from mvista_core.records import UInt8
from mvista_core.timing import seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.convert.image_bytes import image_to_bytes


class CapturePublisher:
    """Publishers below `prefix` ("" in the camera's namespace, "cam0/" elsewhere).

    Pixels are decoded and depth is registered only while somebody reads a topic that shows them.
    Previews are made at most `preview_rate_hz` times a second.
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

        def infos(name: str) -> Publisher:
            return node.create_publisher(CameraInfo, f"{prefix}{name}", qos.SENSOR_OUT)

        self._clock = clock
        self._color, self._depth = images("color/image_raw"), images("depth/image_raw")
        self._info = infos("color/camera_info")
        self._native = images("depth/native") if native_depth else None
        self.preview_rate(preview_rate_hz)
        self._previewed_ns = clock.monotonic_ns() - self._preview_ns
        self._small_color, self._small_depth = images("color/preview"), images("depth/preview")
        self._small_info = infos("color/preview_info")
        self._previews = Previews()

    def preview_rate(self, rate_hz: float) -> None:
        """At most so many previews a second from now on; 0: none."""
        self._preview_ns = seconds_to_ns(1 / rate_hz) if rate_hz else 0

    def publish(self, capture: Capture) -> None:
        """Send what is read of a capture, and its preview when one is due.

        Raises:
            ObservationError: its colour is read and cannot be decoded; nothing was sent.
        """
        factor = preview_factor(capture.intrinsics)
        shown = (self._small_color, self._small_depth)
        preview = factor is not None and any(map(_read, shown)) and self._due()
        color, small_color = _read(self._color), preview and _read(self._small_color)
        # Decoded before the first message is sent: a damaged JPEG leaves no half capture on topics.
        if color:
            capture.pixels()
        small = self._previews.color(capture, factor) if factor and small_color else None
        stamp_ns, frame_id = capture.stamp_ns, convert.optical_frame(capture.camera)
        self._info.publish(convert.camera_info_to_msg(capture.intrinsics, stamp_ns, frame_id))
        if color:
            self._color.publish(image_to_bytes(capture.pixels(), "rgb8", stamp_ns, frame_id))
        if _read(self._depth):
            depth_mm = capture.registered_depth_mm()
            self._depth.publish(image_to_bytes(depth_mm, "16UC1", stamp_ns, frame_id))
        if self._native is not None and _read(self._native):
            # Not registered: in the depth sensor's own frame, stamped when that sensor took it.
            own = convert.depth_optical_frame(capture.camera)
            self._native.publish(
                image_to_bytes(capture.native_depth_mm, "16UC1", capture.depth_stamp_ns, own)
            )
        if preview and factor is not None:
            self._publish_preview(capture, factor, frame_id, small)

    def _publish_preview(
        self, capture: Capture, factor: int, frame_id: str, color: UInt8 | None
    ) -> None:
        lens, stamp_ns = capture.intrinsics.scaled(1.0 / factor), capture.stamp_ns
        self._small_info.publish(convert.camera_info_to_msg(lens, stamp_ns, frame_id))
        if color is not None:
            self._small_color.publish(image_to_bytes(color, "rgb8", stamp_ns, frame_id))
        if _read(self._small_depth):
            depth_mm = self._previews.depth_mm(capture, factor)
            if depth_mm is not None:
                self._small_depth.publish(image_to_bytes(depth_mm, "16UC1", stamp_ns, frame_id))

    def _due(self) -> bool:
        # Read once: the executor's thread may set it to 0 meanwhile (`preview_rate`).
        now_ns, period_ns = self._clock.monotonic_ns(), self._preview_ns
        if not period_ns or now_ns - self._previewed_ns < period_ns:
            return False
        # Carried on in whole periods, so that the rate is kept on average.
        late_ns = (now_ns - self._previewed_ns) % period_ns
        self._previewed_ns = now_ns - late_ns
        return True


def _read(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())
