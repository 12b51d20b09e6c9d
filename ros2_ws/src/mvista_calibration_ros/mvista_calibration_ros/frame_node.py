"""A node that puts what cameras and arm send into a `FrameBuffer`."""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from sensor_msgs.msg import CameraInfo, Image, JointState

from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.ports import Clock
from mvista_ros import convert, qos
from mvista_ros.base_node import HouseNode
from mvista_ros.parameters import declare


class FrameNode(HouseNode):
    """Declares the parameters and fills `buffer` from the topics that they name."""

    def __init__(self, name: str, clock: Clock | None = None, **node_arguments: Any) -> None:
        super().__init__(name, clock, **node_arguments)
        self.settings = declare(self, CalibrationParameters)
        self.buffer = FrameBuffer(self.settings.cameras, self.system_clock)
        self._subscribe()

    def _subscribe(self) -> None:
        settings = self.settings
        # Images of one camera in turn, cameras side by side: 4K takes a while to take over.
        for name in settings.cameras:
            group = MutuallyExclusiveCallbackGroup()
            listen = partial(self.listen, group=group)
            color, depth = f"{name}/{settings.color_topic}", f"{name}/{settings.depth_topic}"
            on_color = partial(self.buffer.add_color, name)
            listen(Image, color, on_color, qos.SENSOR_IN, raw=True)
            if settings.depth_topic:
                on_depth = partial(self.buffer.add_depth, name)
                listen(Image, depth, on_depth, qos.SENSOR_IN, raw=True)
            info = f"{name}/{settings.info_topic}"
            listen(CameraInfo, info, partial(self._on_info, name), qos.SENSOR_IN)
        if settings.board_on_gripper:
            self.listen(
                JointState,
                f"{settings.arm}/joint_states",
                lambda message: self.buffer.add_joints(convert.joint_state_from_msg(message)),
                qos.SENSOR_IN,
                group=ReentrantCallbackGroup(),
            )

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        self.buffer.add_info(camera, convert.intrinsics_from_msg(message))
