"""One camera: a thread takes captures and hands them on, the executor tells how it does.

Configured, that thread keeps the device open; active, it has it stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mvista_cameras.capture_publisher_node import CapturePublisher
from mvista_cameras.capture_thread import CaptureThread
from mvista_cameras.outlet import Outlet
from mvista_cameras.ports import CaptureSource
from mvista_cameras.records import Condition
from mvista_cameras.serials import serial_in_rig
from mvista_cameras.settings import CameraSettings
from mvista_cameras.sources import open_source
from mvista_core.errors import CameraError
from mvista_core.tap import Tap
from mvista_core.tap_wire import tap_path
from mvista_ros.base_node import Health, Level, run_node
from mvista_ros.managed_node import AUTOSTART, ManagedNode
from mvista_ros.parameters import declare, parameter

STOP_TIMEOUT_S = 2.0
FIXED = "the device is opened and checked with it, and whoever reads it has begun with it"
"""Why the other parameters do not change."""
OPEN_S = 10.0
"""A device that has not been opened after so long will not be."""


@dataclass(frozen=True)
class CameraParameters(CameraSettings):
    """The node's parameters: the camera's settings and what is published of it."""

    preview_rate_hz: float = parameter(
        5.0, "320x180 previews per second, while somebody reads them; 0: none", 0.0, 60.0, live=True
    )
    native_depth: bool = parameter(False, "Also publish the depth camera's own image")
    tap: bool = parameter(True, "Serve captures undecoded to processes of this user (recorder)")
    rig_file: str = parameter("", "Rig file that knows the serial, when `serial` is empty")
    sent_log: str = parameter("", "File for stamp and publish time of every shot, written at exit")
    autostart: bool = parameter(True, AUTOSTART)


class CameraNode(ManagedNode):
    """Publishes the camera of its namespace while it is active; inactive, it keeps it open."""

    def __init__(self) -> None:
        super().__init__("camera")
        settings = declare(self, CameraParameters, self._change, FIXED)
        # Of /lab/cell_a/cam0 only cam0: in any cell its frames have the rig's names.
        self._camera = self.get_namespace().rpartition("/")[2] or "camera"
        self.autostart, clock = settings.autostart, self.system_clock
        self._settings = settings
        self._source: CaptureSource | None = None
        self._publisher = CapturePublisher(
            self, "", settings.preview_rate_hz, clock, settings.native_depth
        )
        publish, logs = self._publisher.publish, bool(settings.sent_log)
        self._outlet = Outlet(publish, settings.rate_hz, clock, logs)
        self._said = ""
        self._capture: CaptureThread | None = None

    def _change(self, settings: CameraParameters) -> None:
        self._publisher.preview_rate(settings.preview_rate_hz)

    def configure(self) -> None:
        """Open the camera, check link, profiles and sync settings.

        One that cannot be opened is refused, but a node that is its own manager goes on trying.
        """
        settings = self._settings
        if settings.rig_file and not settings.serial:
            settings = replace(settings, serial=serial_in_rig(settings.rig_file, self._camera))
        source = open_source(self._camera, settings, self.system_clock)
        # After the source: one that cannot be made leaves no socket behind. By the whole namespace,
        # as two cells of one machine may each have a cam0.
        if settings.tap:
            place = self.get_namespace().strip("/") or self._camera
            self._outlet.tap = Tap(tap_path(place), self._camera)
        self._source = source
        source.stream(False)
        self._capture = CaptureThread(source, partial(self._outlet.give, source))
        if self.by_itself:
            return
        # Opened `start_delay_s` late on purpose, as cameras of a rig are: no reason to refuse it.
        known = lambda: source.report().condition is not Condition.WAITING  # noqa: E731
        self.wait_for(known, settings.start_delay_s + OPEN_S)
        report = source.report()
        if report.condition is not Condition.READY:
            self.release()
            raise report.refusal()

    def activate(self) -> None:
        """Have it stream; refused while it is not there."""
        assert self._source is not None
        report = self._source.report()
        if report.condition is Condition.FAILED and not self.by_itself:
            raise report.refusal()
        self._source.stream(True)

    def deactivate(self) -> None:
        """Stop the streams; the device stays open."""
        assert self._source is not None
        self._source.stream(False)
        report = self._source.report
        if not self.wait_for(lambda: report().condition is not Condition.OK, STOP_TIMEOUT_S):
            raise CameraError(f"it still streams after {STOP_TIMEOUT_S} s: {report().message}")

    def release(self) -> None:
        """End the thread, which lets go of the camera."""
        if self._capture is not None:
            self._capture.stop(STOP_TIMEOUT_S)
        self._outlet.close()
        self._source = self._capture = None

    def look(self) -> Health:
        """Rate, age, link, sync, losses. Ends the node when the capture thread has failed."""
        assert self._source is not None and self._capture is not None
        self._capture.check()
        report = self._source.report()
        rate_hz, numbers = self._outlet.pace.take(self.system_clock.monotonic_ns())
        level, message = self._outlet.pace.grade(report, rate_hz)
        if report.message != self._said:
            self._said = report.message
            # rclpy keeps the severity per line of code: one call each.
            if report.condition is Condition.FAILED:
                self.get_logger().error(report.message)
            else:
                self.get_logger().info(report.message)
        return Health(Level[level], message, (*numbers, *report.values, *self._outlet.values()))

    def stop(self) -> None:
        """Let go of the camera, write the log that was asked for."""
        super().stop()
        if self._settings.sent_log:
            self._outlet.write_log(Path(self._settings.sent_log))


def main() -> None:
    """Entry point of the `camera_node` executable."""
    run_node(CameraNode)
