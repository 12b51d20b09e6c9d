"""The rig on /tf_static reaches even a late joiner."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from tf2_msgs.msg import TFMessage

from mvista_bringup.nodes import NodeSpec
from mvista_bringup.paths import config_file
from mvista_bringup.supervisor import Supervisor
from mvista_core.rig import load_rig
from mvista_ros import qos
from mvista_ros.convert import optical_frame, transform_from_msg

WAIT_S = 40.0


def test_every_camera_hangs_on_the_base(
    rig_publisher: NodeSpec, values: dict[str, str], tmp_path: Path
) -> None:
    rig = load_rig(config_file("rigs", "sim_cell.yaml"))
    heard: list[TFMessage] = []
    with Supervisor([rig_publisher], values, tmp_path) as supervisor:
        supervisor.wait_ready(WAIT_S)
        context = rclpy.Context()
        context.init(domain_id=supervisor.domain_id)
        node = rclpy.create_node("late", context=context)
        node.create_subscription(TFMessage, "/tf_static", heard.append, qos.STATIC)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        deadline_s = time.monotonic() + WAIT_S
        while not heard and time.monotonic() < deadline_s:
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    found = {t.child_frame_id: t for t in heard[0].transforms}
    assert set(found) == {optical_frame(name) for name in rig.names}
    for camera in rig.cameras:
        transform = found[optical_frame(camera.name)]
        assert transform.header.frame_id == rig.base_frame == "piper_base"
        np.testing.assert_allclose(
            transform_from_msg(transform), camera.base_from_camera, atol=1e-9
        )
