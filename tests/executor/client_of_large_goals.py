"""A client as a process of its own: `python client_of_large_goals.py DOMAIN COUNT:LAST_S:LAST ...`.

Each goal rests at home for COUNT points until LAST_S; joint 5's last position is LAST. All are made
before the first is sent. Prints one line per goal: the result's error_string.
"""

from __future__ import annotations

import sys
from pathlib import Path

from control_msgs.action import FollowJointTrajectory
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectoryPoint

from mvista_core.arm import ArmModel, load_arm
from mvista_core.timing import SystemClock
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.spinning import spinning

ARM = Path(__file__).parents[2] / "config" / "arms" / "piper.yaml"


def goal_of(arm: ArmModel, count: int, last_s: float, last: float) -> FollowJointTrajectory.Goal:
    """So many points at home, evenly until `last_s`."""
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.joint_names = list(arm.joint_names)
    points = []
    for index in range(1, count + 1):
        point = JointTrajectoryPoint(positions=arm.home.tolist())
        due = divmod(round(last_s * 1e9 * index / count), 10**9)
        point.time_from_start.sec, point.time_from_start.nanosec = due
        points.append(point)
    points[-1].positions[4] = last
    goal.trajectory.points = points
    return goal


def main() -> None:
    arm, clock = load_arm(ARM), SystemClock()
    asked = [argument.split(":") for argument in sys.argv[2:]]
    goals = [goal_of(arm, int(count), float(s), float(last)) for count, s, last in asked]

    def build(context: object) -> Node:
        return Node("large", namespace="piper", context=context)

    with spinning(build, domain_id=int(sys.argv[1])) as node:
        client = GoalClient(node, FollowJointTrajectory, "follow_joint_trajectory")
        for goal in goals:
            _, result = call_action(client, goal, clock, answer_timeout_s=60.0)
            print(result.error_string, flush=True)


if __name__ == "__main__":
    main()
