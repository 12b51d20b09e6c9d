"""The drift watch beside the running simulator: a camera is pushed, and it is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mvista_interfaces.srv import MoveCamera
from rclpy.node import Node

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.options import TRUE, option_values
from mvista_bringup.paths import config_file, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_calibration_ros.drift_settings import DriftParameters
from mvista_core.errors import RigError
from mvista_core.geometry import exp_so3, pose_from
from mvista_core.records import Float64
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.actions import call_service
from mvista_ros.convert import raise_outcome
from mvista_ros.parameters import read_file
from mvista_ros.spinning import spinning

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.timeout(400)]

CLOCK = SystemClock()
SECONDS_PER_LOOK = 0.5
"""Of 2: the same frames are learned from and the same window decides, four times as soon."""
GRAPH = tuple(
    replace(row, parameters=(*row.parameters, ("period_s", SECONDS_PER_LOOK)))
    if row.name == "drift"
    else row
    for row in SIM_DEMO
    if row.name in ("sim", "drift")
)
LEARNED_WITHIN_S = 120.0
NOTICED_WITHIN_S = 60.0


class Watcher(Node):
    """What the drift watch says, and a hand that pushes cameras."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__("watcher", context=context)
        self.said: list[DiagnosticStatus] = []
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)
        self._move = self.create_client(MoveCamera, "sim/move_camera")

    def push(self, camera: str, camera_from_moved: Float64) -> None:
        pose = convert.pose_to_msg(camera_from_moved)
        request = MoveCamera.Request(camera=camera, camera_from_moved=pose)
        raise_outcome(call_service(self._move, request, CLOCK).outcome)

    def wait(self, words: str, timeout_s: float) -> DiagnosticStatus:
        """The first status from now on that holds these words."""
        begun, first = CLOCK.monotonic_ns(), len(self.said)
        while CLOCK.monotonic_ns() - begun < seconds_to_ns(timeout_s):
            for status in self.said[first:]:
                if words in status.message:
                    return status
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.1))
        heard = self.said[-1].message if self.said else "nothing"
        raise AssertionError(f"'{words}' was not said within {timeout_s:g} s; last: {heard}")

    def _hear(self, message: DiagnosticArray) -> None:
        self.said += [status for status in message.status if status.name == "/drift"]


def test_the_shipped_period_fills_the_window_within_a_minute() -> None:
    """The watch below looks more often: what it shows of frames, this puts into seconds."""
    shipped = read_file(DriftParameters, config_file("drift.yaml"))
    looks = shipped.window + shipped.persistence
    assert looks * shipped.period_s < NOTICED_WITHIN_S


def test_a_pushed_camera_is_named_within_a_minute(tmp_path: Path) -> None:
    values = option_values(SIM_DEMO_OPTIONS, {"drift": TRUE}, str(share_root()))
    with Supervisor(GRAPH, values, tmp_path) as supervisor:
        supervisor.wait_ready(60.0)
        with spinning(Watcher, supervisor.domain_id) as watcher:
            with pytest.raises(RigError, match="cam9"):
                watcher.push("cam9", np.eye(4))
            calm = watcher.wait("are where they were", LEARNED_WITHIN_S)
            assert calm.level == DiagnosticStatus.OK
            turn = exp_so3(np.array([0.0, np.deg2rad(1.0), 0.0]))
            watcher.push("cam2", pose_from(turn, np.zeros(3)))
            noticed = watcher.wait("cam2 has moved", NOTICED_WITHIN_S)
            supervisor.check()
    assert noticed.level == DiagnosticStatus.WARN
    accused = [n for n in ("cam0", "cam1", "cam3") if f"{n} has moved" in noticed.message]
    assert not accused, noticed.message
    told = {value.key: value.value for value in noticed.values}
    assert told["warning"] == "true"
    degrees = float(told["cam2"].split(" mm, ")[1].split(" +-")[0])
    assert degrees == pytest.approx(1.0, abs=0.3)
