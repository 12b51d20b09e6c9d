"""A cell of two small cameras and an arm, as the recorder meets one: a tap, topics, joints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.capture import Capture
from mvista_core.records import Intrinsics, JointState
from mvista_core.registration import StreamCalibration
from mvista_core.tap import Tap
from mvista_core.tap_wire import tap_path
from mvista_core.timing import SystemClock
from mvista_ros import qos
from mvista_ros.camera_publisher import CameraPublisher
from mvista_ros.convert import joint_state_to_msg
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg

COLOR = Intrinsics(48, 36, 40.0, 40.0, 23.5, 17.5)
DEPTH = Intrinsics(32, 24, 30.0, 30.0, 15.5, 11.5)
RATE_HZ = 10.0


class Cell(Node):
    """One camera with a tap, one with topics, an arm; each told what time it is by one timer."""

    def __init__(self, lens: Intrinsics = COLOR) -> None:
        super().__init__("small_cell")
        offset = np.eye(4)
        offset[0, 3] = 0.03
        self.lens = lens
        self.calibration = StreamCalibration(lens, DEPTH, offset)
        self.tap = Tap(tap_path("cam0"), "cam0")
        self.camera = CameraPublisher(self, "cam1")
        self.joints = self.create_publisher(JointStateMsg, "piper/joint_states", qos.SENSOR_OUT)
        self.no_depth = np.zeros((lens.height_px, lens.width_px), np.uint16)
        self.rng, self.clock, self.count = np.random.default_rng(0), SystemClock(), 0
        self.depths: dict[int, np.ndarray] = {}
        self.jpegs: dict[int, bytes] = {}
        self.create_timer(1 / RATE_HZ, self._tick)

    def _tick(self) -> None:
        now_ns = self.clock.now_ns()
        self.count += 1
        pixels = self.rng.integers(
            0, 255, (self.lens.height_px, self.lens.width_px, 3), dtype=np.uint8
        )
        native = self.rng.integers(0, 3000, (DEPTH.height_px, DEPTH.width_px)).astype(np.uint16)
        self.jpegs[now_ns], self.depths[now_ns] = encode_jpeg(pixels), native
        self.tap.offer(
            Capture(
                "cam0",
                self.count,
                now_ns,
                now_ns,
                self.jpegs[now_ns],
                native,
                self.calibration,
                decode_jpeg,
                1_000_000,
            )
        )
        frame = Capture.of_pixels("cam1", pixels, self.no_depth, self.lens, now_ns)
        self.camera.publish(frame.frame())
        names = tuple(f"joint{k}" for k in range(1, 8))
        state = JointState(names, np.arange(7.0), np.zeros(7), now_ns)
        self.joints.publish(joint_state_to_msg(state))


@contextmanager
def small_tap(lens: Intrinsics) -> Iterator[None]:
    """A camera's tap alone, five captures a second: what a recorder asks for beside the arms."""
    clock, over, tap = SystemClock(), threading.Event(), Tap(tap_path("cam0"), "cam0")
    jpeg = encode_jpeg(np.zeros((lens.height_px, lens.width_px, 3), np.uint8))
    native = np.full((DEPTH.height_px, DEPTH.width_px), 1000, np.uint16)
    calibration = StreamCalibration(lens, DEPTH, np.eye(4))

    def work() -> None:
        count = 0
        while not over.wait(0.2):
            now_ns, count = clock.now_ns(), count + 1
            tap.offer(
                Capture("cam0", count, now_ns, now_ns, jpeg, native, calibration, decode_jpeg)
            )

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tap.close()
