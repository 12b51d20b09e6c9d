"""The joint topics of arms that are not there, 200 times a second; each message says its number.

What a recorder lost of them is a number that is missing, whatever held this process up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.arm import load_arm
from mvista_core.records import JointState
from mvista_core.ticker import Ticker
from mvista_core.timing import ns_to_seconds
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert.joint_bytes import JointStateBytes
from mvista_ros.parameters import declare, parameter

REALTIME_PRIORITY = 10
"""As of a driver: what is published late is not the recorder's fault."""


@dataclass(frozen=True)
class ArmTrafficParameters:
    """Whose topics, and how often."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joint names")
    arms: tuple[str, ...] = parameter(("left", "right"), "Namespaces of the arms")
    rate_hz: float = parameter(200.0, "Joint states and commands a second", 1.0, 1000.0)
    commands: bool = parameter(True, "Also publish joint_command")


class ArmTrafficNode(HouseNode):
    """Joint 1 is the message's number, joint 2 the seconds since the start, of its own stamp."""

    def __init__(self) -> None:
        super().__init__("arm_traffic")
        asked = declare(self, ArmTrafficParameters)
        names = load_arm(asked.arm_file).joint_names
        self._bytes, self._names = JointStateBytes(names), names
        kinds = [("joint_states", qos.SENSOR_OUT)]
        if asked.commands:
            kinds.append(("joint_command", qos.COMMAND))
        self._senders = [
            self.create_publisher(JointStateMsg, f"{arm}/{name}", profile)
            for arm in asked.arms
            for name, profile in kinds
        ]
        self._began_ns = self.system_clock.now_ns()
        self._sent = 0
        self._ticker = Ticker(self.system_clock, 1.0 / asked.rate_hz, self._send)
        self._ticker.start()

    def health(self) -> Health:
        """How many were sent."""
        self._ticker.check()
        return Health(Level.OK, f"{self._sent} sent on {len(self._senders)} topics")

    def stop(self) -> None:
        """End the thread."""
        self._ticker.stop()

    def _send(self) -> None:
        now_ns = self.system_clock.now_ns()
        positions = np.zeros(len(self._names))
        positions[:2] = self._sent, ns_to_seconds(now_ns - self._began_ns)
        data = self._bytes.of(JointState(self._names, positions, np.zeros_like(positions), now_ns))
        for sender in self._senders:
            sender.publish(data)
        self._sent += 1


def main() -> None:
    """Entry point of the `arm_traffic_node` executable."""
    run_node(ArmTrafficNode, realtime_priority=REALTIME_PRIORITY)
