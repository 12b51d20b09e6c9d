"""One camera: a thread takes shots and publishes them, the executor tells how it does."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from mvista_cameras.pace import Pace
from mvista_cameras.ports import ShotSource
from mvista_cameras.records import Condition, Shot
from mvista_cameras.serials import serial_in_rig
from mvista_cameras.settings import CameraSettings
from mvista_cameras.shot_publisher_node import ShotPublisher
from mvista_cameras.sources import open_source
from mvista_core.timing import ns_to_seconds
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.parameters import declare, parameter

WAIT_S = 0.2
STOP_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class CameraParameters(CameraSettings):
    """The node's parameters: the camera's settings and what is published of it."""

    preview_rate_hz: float = parameter(
        5.0, "320x180 previews per second, while somebody reads them; 0: none", 0.0, 60.0
    )
    native_depth: bool = parameter(False, "Also publish the depth camera's own image")
    rig_file: str = parameter("", "Rig file that knows the serial, when `serial` is empty")
    sent_log: str = parameter("", "File for stamp and publish time of every shot, written at exit")


class CameraNode(HouseNode):
    """Publishes the camera of its namespace."""

    def __init__(self) -> None:
        super().__init__("camera")
        settings = declare(self, CameraParameters)
        self._camera = self.get_namespace().rpartition("/")[2] or "camera"
        if settings.rig_file and not settings.serial:
            settings = replace(settings, serial=serial_in_rig(settings.rig_file, self._camera))
        clock = self.system_clock
        self._settings, self._pace = settings, Pace(settings.rate_hz, clock.monotonic_ns())
        self._source: ShotSource = open_source(self._camera, settings, clock)
        self._publisher = ShotPublisher(
            self, "", settings.preview_rate_hz, clock, settings.native_depth
        )
        self._sent: list[tuple[int, int]] = []
        self._said = ""
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._capture = threading.Thread(target=self._run, name="capture", daemon=True)
        self._capture.start()

    def health(self) -> Health:
        """Rate, age, link, sync, losses. Ends the node when the capture thread has failed."""
        if self._failure is not None:
            raise self._failure
        report = self._source.report()
        rate_hz, numbers = self._pace.take(self.system_clock.monotonic_ns())
        level, message = self._pace.grade(report, rate_hz)
        if report.message != self._said:
            self._said = report.message
            # rclpy keeps the severity per line of code: one call each.
            if report.condition is Condition.FAILED:
                self.get_logger().error(report.message)
            else:
                self.get_logger().info(report.message)
        return Health(Level[level], message, (*numbers, *report.values))

    def stop(self) -> None:
        """End the thread, let go of the camera, write the log that was asked for."""
        self._stopping.set()
        self._capture.join(STOP_TIMEOUT_S)
        if self._settings.sent_log:
            lines = "\n".join(f"{stamp},{sent}" for stamp, sent in self._sent)
            Path(self._settings.sent_log).write_text(f"stamp_ns,sent_ns\n{lines}\n")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                shot = self._source.next(WAIT_S)
                if shot is not None:
                    self._publish(shot)
        except Exception as error:
            self._failure = error
        finally:
            self._source.close()

    def _publish(self, shot: Shot) -> None:
        clock = self.system_clock
        now_ns = clock.now_ns()
        self._publisher.publish(shot)
        self._pace.shot(ns_to_seconds(now_ns - shot.stamp_ns), clock.monotonic_ns())
        if self._settings.sent_log:
            self._sent.append((shot.stamp_ns, now_ns))


def main() -> None:
    """Entry point of the `camera_node` executable."""
    run_node(CameraNode)
