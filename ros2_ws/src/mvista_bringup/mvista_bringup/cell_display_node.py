"""Serves RViz: the plan as a path and a ghost's joints, the workspace box, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from mvista_bringup import cell_display as display
from mvista_core.arm import load_arm
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import load_settings
from mvista_core.records import Float64
from mvista_core.timing import ns_to_seconds
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import joint_state_from_msg, ns_to_stamp, transform_to_msg
from mvista_ros.listening import message_from_bytes
from mvista_ros.parameters import declare, parameter
from mvista_ros.showing import NodeWords, ShownPlan

TEXT_ABOVE_M = 0.1


@dataclass(frozen=True)
class CellDisplayParameters:
    """What is shown of which arm."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and kinematics")
    arm: str = parameter("piper", "Namespace of the arm; its base frame is <arm>_base")
    executor_file: str = parameter("config/executor.yaml", "The executor's file: the workspace")
    trajectory_topic: str = parameter("inferred/trajectory", "The plan")
    ghost_rate_hz: float = parameter(30.0, "Joint states of the ghost per second", 1.0, 60.0)


class CellDisplayNode(HouseNode):
    """Only publishes; nothing here can move an arm."""

    def __init__(self) -> None:
        super().__init__("cell_display")
        self._settings = declare(self, CellDisplayParameters)
        arm = self._settings.arm
        self._arm = load_arm(self._settings.arm_file)
        self._limits = load_settings(self._settings.executor_file)
        self._plan: ShownPlan | None = None
        self._begun_ns = 0
        self._troubles = NodeWords(self.system_clock)
        self._path = self.create_publisher(Path, f"{arm}/planned/path", qos.STATIC)
        self._ghost = self.create_publisher(
            JointStateMsg, f"{arm}/planned/joint_states", qos.SENSOR_OUT
        )
        self._workspace = self.create_publisher(MarkerArray, f"{arm}/workspace", qos.STATIC)
        self._text = self.create_publisher(Marker, "display/diagnostics", qos.STATUS)
        # /tf_static and /diagnostics are absolute by convention.
        self._frames = self.create_publisher(TFMessage, "/tf_static", qos.STATIC)
        self.listen(JointTrajectory, self._settings.trajectory_topic, self._on_plan, qos.STATIC)
        self.listen(DiagnosticArray, "/diagnostics", self._on_health, qos.STATUS)
        self._at_first: Float64 | None = None
        # One of 200 a second is wanted, once: they wait in the middleware.
        self._measured = self.listening.queue(
            JointStateMsg, f"{arm}/joint_states", self._read_measured, qos.SENSOR_IN
        )
        self.create_timer(1.0 / self._settings.ghost_rate_hz, self._play)
        self.create_timer(1.0, self._show_troubles)
        self._show_cell()

    def health(self) -> Health:
        """Whether there is a plan to show."""
        return Health(message="showing the newest plan" if self._plan else "no plan yet")

    def _show_cell(self) -> None:
        """What does not change: the box, and where the ghost stands."""
        lower_m, upper_m = self._limits.workspace_lower_m, self._limits.workspace_upper_m
        box = display.workspace_marker(lower_m, upper_m, self._header())
        self._workspace.publish(MarkerArray(markers=[box]))
        base, now_ns = self._header().frame_id, self.system_clock.now_ns()
        ghost = transform_to_msg(np.eye(4), base, f"{display.PLANNED}{base}", now_ns)
        self._frames.publish(TFMessage(transforms=[ghost]))

    def _on_plan(self, message: JointTrajectory) -> None:
        try:
            self._plan = ShownPlan.of(message, self._arm)
        except TrajectoryError as error:
            self.get_logger().error(f"{self._settings.trajectory_topic}: {error}")
            return
        self._begun_ns = self.system_clock.monotonic_ns()
        self._path.publish(display.path_of(self._plan, self._arm, self._header()))

    def _read_measured(self, data: bytes) -> Float64:
        state = joint_state_from_msg(message_from_bytes(data, JointStateMsg))
        return state.ordered(self._arm.joint_names)

    def _standing(self) -> Float64:
        """Before the first plan: where the arm was first heard to stand; until then its home."""
        if self._at_first is None:
            measured = self._measured.take()
            self._at_first = measured[-1] if measured else None
        return self._arm.home if self._at_first is None else self._at_first

    def _on_health(self, message: DiagnosticArray) -> None:
        """Of this cell's nodes: another's may tell theirs on the same domain."""
        own = self.get_namespace().rstrip("/") + "/"
        self._troubles.hear([status for status in message.status if status.name.startswith(own)])

    def _play(self) -> None:
        elapsed_s = ns_to_seconds(self.system_clock.monotonic_ns() - self._begun_ns)
        # Without any joints the ghost's links would have no frames, and RViz only errors to show.
        positions = self._standing() if self._plan is None else self._plan.at(elapsed_s)
        self._ghost.publish(display.ghost_state(self._arm, positions, self._header()))

    def _show_troubles(self) -> None:
        above_m = self._limits.workspace_upper_m[2] + TEXT_ABOVE_M
        self._text.publish(display.troubles_marker(self._troubles, self._header(), above_m))

    def _header(self) -> Header:
        stamp = ns_to_stamp(self.system_clock.now_ns())
        return Header(stamp=stamp, frame_id=f"{self._settings.arm}_base")


def main() -> None:
    """Entry point of the `cell_display_node` executable."""
    run_node(CellDisplayNode)
