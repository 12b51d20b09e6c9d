"""The cell as a real process whose arm follows another one's joint states, good ones and bad."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import config_file, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.arm import load_arm
from mvista_core.records import Float64, JointState
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.observation import ObservationSource
from mvista_ros.spinning import spinning

pytestmark = [pytest.mark.system, pytest.mark.beside]

CLOCK = SystemClock()
ARM = load_arm(config_file("arms", "piper.yaml"))
RIG = load_rig(config_file("rigs", "sim_cell.yaml"))


class _OtherArm(Node):
    """Tells where it is 50 times a second, and looks at the cell."""

    def __init__(self, **arguments: object) -> None:
        super().__init__("other_arm", **arguments)
        self.positions = ARM.home.copy()
        self.said = ""
        self._out = self.create_publisher(JointStateMsg, "piper/joint_states", qos.SENSOR_OUT)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)
        self.create_timer(0.02, lambda: self.tell(self.positions))
        self.eyes = ObservationSource(self, RIG, CLOCK)

    def _hear(self, message: DiagnosticArray) -> None:
        self.said = message.status[0].message

    def tell(self, positions: Float64) -> None:
        state = JointState(ARM.joint_names, positions, np.zeros(7), CLOCK.now_ns())
        self._out.publish(convert.joint_state_to_msg(state))

    def picture(self) -> Float64:
        frames = self.eyes.observe(CLOCK.now_ns(), timeout_s=20.0).frames
        return np.asarray(frames[1].color, dtype=np.float64)


def _pause(seconds: float) -> None:
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(seconds))


def test_it_follows_and_odd_joint_states_neither_move_nor_end_it(tmp_path: Path) -> None:
    values = option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))
    row = replace(SIM_DEMO[0], parameters=(*SIM_DEMO[0].parameters, ("follow_arm", True)))
    with Supervisor((row,), values, tmp_path) as supervisor:
        supervisor.wait_ready(60.0)
        with spinning(_OtherArm, supervisor.domain_id) as other:
            _pause(1.0)
            at_home = other.picture()
            for odd in (math.nan, 1e9, -50.0):
                positions = ARM.home.copy()
                positions[0] = odd
                for _ in range(10):
                    other.tell(positions)
                    _pause(0.02)
            assert np.abs(other.picture() - at_home).mean() < 1.0
            deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(20.0)
            while "dropping malformed" not in other.said and CLOCK.monotonic_ns() < deadline_ns:
                other.tell(np.full(7, math.nan))
                _pause(0.1)
            assert "dropping malformed messages of /piper/joint_states" in other.said
            other.positions[0] += 0.8
            _pause(2.0)
            assert np.abs(other.picture() - at_home).mean() > 2.0
            supervisor.check()
