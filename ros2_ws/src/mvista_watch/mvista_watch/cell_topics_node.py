"""The topics of one cell that are shown: heard by taking what waits, the newest of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from action_msgs.msg import GoalStatus, GoalStatusArray
from diagnostic_msgs.msg import DiagnosticArray
from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import ImaginedRollout
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core.arm import ArmModel
from mvista_core.ports import Clock
from mvista_core.records import RigCalibration
from mvista_ros import qos
from mvista_ros.convert import (
    cloud_from_msg,
    joint_state_from_msg,
    stamp_to_ns,
)
from mvista_ros.convert.image_bytes import color_from_bytes, depth_from_bytes
from mvista_ros.convert.rollouts import rollout_from_msg
from mvista_ros.listening import Listening, Queue, message_from_bytes
from mvista_ros.observation import CameraTopics
from mvista_ros.showing import ShownPlan
from mvista_watch.clouds import Cloud
from mvista_watch.words import End

R = TypeVar("R")

TINT, TINT_SHARE = (150, 70, 230), 0.45
"""Imagined points are drawn towards violet, or nobody could tell them from those seen."""
_ENDS = {
    GoalStatus.STATUS_SUCCEEDED: End.DONE,
    GoalStatus.STATUS_ABORTED: End.FAILED,
    GoalStatus.STATUS_CANCELED: End.CANCELLED,
}


@dataclass(frozen=True)
class Cell:
    """Which cell is shown: its namespace (no slash before or after), its arm's, its two files."""

    namespace: str
    arm_name: str
    arm: ArmModel
    rig: RigCalibration


class CellTopics:
    """Every topic that is shown, heard by one node from now until that node is destroyed."""

    def __init__(self, node: Node, cell: Cell, clock: Clock) -> None:
        listening = Listening(node, clock)

        def queue(kind: Any, topic: str, profile: QoSProfile, made: Callable[[Any], R]) -> Queue[R]:
            def read(data: bytes) -> R:
                return made(message_from_bytes(data, kind))

            return listening.queue(kind, topic, read, profile)

        topics = {name: CameraTopics.of(name) for name in cell.rig.names}
        newest = qos.SENSOR_NEWEST_IN
        self.color = {
            name: listening.queue(Image, found.color, color_from_bytes, newest)
            for name, found in topics.items()
        }
        self.depth = {
            name: listening.queue(Image, found.depth, depth_from_bytes, newest)
            for name, found in topics.items()
        }
        joints = f"{cell.arm_name}/joint_states"
        plan = partial(ShownPlan.of, arm=cell.arm)
        self.joints = queue(JointStateMsg, joints, newest, joint_state_from_msg)
        self.rollout = queue(ImaginedRollout, "imagined/rollout", qos.STATIC, rollout_from_msg)
        self.points = queue(PointCloud2, "imagined/points", qos.STATIC, _imagined_points)
        self.plan = queue(JointTrajectory, "inferred/trajectory", qos.STATIC, plan)
        self.health = queue(DiagnosticArray, "/diagnostics", qos.STATUS, lambda said: said.status)
        self.feedback = queue(
            RunTask.Impl.FeedbackMessage,
            "run_task/_action/feedback",
            qos.STATUS,
            lambda said: (str(said.feedback.stage), float(said.feedback.progress)),
        )
        self.ends = queue(GoalStatusArray, "run_task/_action/status", qos.STATIC, _newest_end)


def _imagined_points(message: PointCloud2) -> tuple[Cloud, int]:
    """The cloud, and its stamp: the time that it foretells."""
    points_m, color = cloud_from_msg(message)
    return Cloud(points_m, color).tinted(TINT, TINT_SHARE), stamp_to_ns(message.header.stamp)


def _newest_end(message: GoalStatusArray) -> End:
    """What became of the newest goal."""
    goals = sorted(message.status_list, key=lambda goal: stamp_to_ns(goal.goal_info.stamp))
    return _ENDS.get(goals[-1].status, End.RUNNING) if goals else End.NONE
