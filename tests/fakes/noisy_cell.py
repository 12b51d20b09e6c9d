"""Cameras and an arm of the simulated cell's rig that send as much rubbish as good messages."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.arm import load_arm
from mvista_core.records import JointState
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.observation import CameraTopics
from tests.fakes.step_clock import SteppedClock

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
RIG, ARM = load_rig(ROOT / "config/rigs/sim_cell.yaml"), load_arm(ROOT / "config/arms/piper.yaml")
PERIOD_S = 0.1


class NoisyCell(Node):
    """Cameras and an arm; among what they send is as much that is malformed."""

    def __init__(self, wall: SteppedClock | None = None, **arguments: Any) -> None:
        super().__init__("cell", **arguments)
        self.wall, self.lens_factor = wall, 1.0
        self.told: dict[str, DiagnosticStatus] = {}
        self._out = {
            name: tuple(
                self.create_publisher(kind, topic, qos.SENSOR_OUT)
                for kind, topic in ((CameraInfo, t.info), (Image, t.color), (Image, t.depth))
            )
            for name, t in ((name, CameraTopics.of(name)) for name in RIG.names)
        }
        self._joints = self.create_publisher(JointStateMsg, "piper/joint_states", qos.SENSOR_OUT)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        self._ended.set()
        self._thread.join()
        super().destroy_node()

    def dropped(self, node: str) -> set[str]:
        """Topics of which a node says that it dropped something."""
        status = self.told.get(node)
        keys = [] if status is None else [value.key for value in status.values]
        return {key.removeprefix("dropped of ") for key in keys if key.startswith("dropped of ")}

    def _hear(self, message: DiagnosticArray) -> None:
        self.told.update({status.name: status for status in message.status})

    def _run(self) -> None:
        while not self._ended.is_set():
            ahead_s = 0.0 if self.wall is None else self.wall.offset_s
            stamp_ns = CLOCK.now_ns() + seconds_to_ns(ahead_s)
            for name, publishers in self._out.items():
                self._frame(name, publishers, stamp_ns)
            still = np.zeros(len(ARM.joint_names))
            state = JointState(ARM.joint_names, ARM.home, still, stamp_ns)
            self._joints.publish(convert.joint_state_to_msg(state))
            for ragged in ({"position": [0.1]}, {"name": ["a", "a"], "position": [0.1, 0.2]}):
                self._joints.publish(JointStateMsg(**{"name": ["joint1", "joint2"], **ragged}))
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(PERIOD_S))

    def _frame(self, name: str, publishers: tuple[Any, ...], stamp_ns: int) -> None:
        lens, frame = RIG.camera(name).intrinsics, convert.optical_frame(name)
        size = (lens.height_px, lens.width_px)
        half = convert.depth_to_msg(np.full(size, 0.5, np.float32), stamp_ns, frame)
        half.data = half.data[: len(half.data) // 2]
        depth = convert.depth_to_msg(np.full(size, 0.8, np.float32), stamp_ns, frame)
        bayer = convert.color_to_msg(np.zeros((*size, 3), np.uint8), stamp_ns, frame)
        bayer.encoding = "bayer_rggb8"
        bgr = convert.color_to_msg(np.full((*size, 3), 90, np.uint8), stamp_ns, frame)
        bgr.encoding = "bgr8"
        zero = convert.camera_info_to_msg(lens, stamp_ns, frame)
        zero.k = [0.0] * 9
        lens = replace(lens, fx_px=lens.fx_px * self.lens_factor)
        info = convert.camera_info_to_msg(lens, stamp_ns, frame)
        for publisher, messages in zip(
            publishers, ((zero, info, zero), (bayer, bgr), (half, depth)), strict=True
        ):
            for message in messages:
                publisher.publish(message)
