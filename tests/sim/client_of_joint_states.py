"""A client as a process of its own: `python client_of_joint_states.py DOMAIN SECONDS`.

Prints the stamps (ns) of the joint states that come within so long of the first, as JSON. What the
asking process does besides is not measured here.
"""

from __future__ import annotations

import json
import sys

import rclpy
from sensor_msgs.msg import JointState

from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.convert import stamp_to_ns

CLOCK = SystemClock()
FIRST_S = 20.0


def stamps_ns(domain_id: int, seconds: float) -> list[int]:
    """Of `seconds` from the first one; none, if no joint state came within `FIRST_S`."""
    found: list[int] = []
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("joint_states_alone")
    node.create_subscription(
        JointState,
        "piper/joint_states",
        lambda message: found.append(stamp_to_ns(message.header.stamp)),
        qos.SENSOR_IN,
    )
    until_ns = CLOCK.monotonic_ns() + seconds_to_ns(FIRST_S)
    while not found and CLOCK.monotonic_ns() < until_ns:
        rclpy.spin_once(node, timeout_sec=0.1)
    until_ns = CLOCK.monotonic_ns() + seconds_to_ns(seconds)
    while found and CLOCK.monotonic_ns() < until_ns:
        rclpy.spin_once(node, timeout_sec=0.1)
    return found


if __name__ == "__main__":
    print(json.dumps(stamps_ns(int(sys.argv[1]), float(sys.argv[2]))))
