"""A camera is known by the last part of its namespace: that of the cell stands before it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.options import NAMESPACE, SHARE
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.spinning import spinning

pytestmark = pytest.mark.ros

CLOCK = SystemClock()
WAIT_S = 40.0


def test_its_frames_are_the_rigs_in_any_cell(tmp_path: Path) -> None:
    camera = NodeSpec(
        "mvista_cameras",
        "camera_node",
        "camera",
        "cam0",
        "config/cameras.yaml",
        (("backend", "emulated"), ("rate_hz", 5)),
    )
    values = {SHARE: str(share_root()), NAMESPACE: "lab/cell_a"}
    heard: list[CameraInfo] = []
    with (
        Supervisor((camera,), values, tmp_path) as supervisor,
        spinning(partial(Node, "reader"), supervisor.domain_id) as node,
    ):
        topic = "/lab/cell_a/cam0/color/camera_info"
        node.create_subscription(CameraInfo, topic, heard.append, qos.SENSOR_IN)
        deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(WAIT_S)
        while not heard and CLOCK.monotonic_ns() < deadline_ns:
            supervisor.check()
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))
    assert heard[0].header.frame_id == "cam0_color_optical_frame"
