"""What RViz is shown beside the topics that exist anyway: plan, workspace, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import ColorRGBA, Header
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.ports import Clock
from mvista_core.records import Float64
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros.convert import pose_to_msg

PLANNED = "planned/"
"""Prefix of the ghost's frames: `planned/piper_base`."""
PAUSE_S = 1.0
"""Between two showings of a plan."""
SILENT_AFTER_S = 3.0
LINE_M = 0.003
TEXT_M = 0.03
GREEN = ColorRGBA(r=0.2, g=0.8, b=0.3, a=1.0)
AMBER = ColorRGBA(r=1.0, g=0.75, b=0.1, a=1.0)
RED = ColorRGBA(r=1.0, g=0.2, b=0.15, a=1.0)


@dataclass(frozen=True)
class ShownPlan:
    """A plan in the arm file's joint order: positions [T, J], times [T] in seconds."""

    positions: Float64
    times_s: Float64

    @classmethod
    def of(cls, message: JointTrajectory, arm: ArmModel) -> ShownPlan:
        """Joints are mapped by name.

        Raises:
            TrajectoryError: empty, or not this arm's joints.
        """
        missing = [name for name in arm.joint_names if name not in message.joint_names]
        if missing or not message.points:
            raise TrajectoryError(
                TrajectoryError.EMPTY if not message.points else TrajectoryError.MISSING_JOINT,
                f"{len(message.points)} points, joints {list(message.joint_names)}; a plan of arm "
                f"'{arm.name}' has {list(arm.joint_names)}",
            )
        order = [list(message.joint_names).index(name) for name in arm.joint_names]
        positions = np.array([point.positions for point in message.points])[:, order]
        times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points]
        return cls(positions, np.array(times))

    def at(self, elapsed_s: float) -> Float64:
        """Joint positions [J] of the endless show, `PAUSE_S` at the end of each round."""
        moment_s = elapsed_s % (float(self.times_s[-1]) + PAUSE_S)
        return np.array([np.interp(moment_s, self.times_s, column) for column in self.positions.T])


def path_of(plan: ShownPlan, arm: ArmModel, header: Header) -> Path:
    """The way of the point between the finger tips."""
    poses = [
        PoseStamped(header=header, pose=pose_to_msg(arm.base_from_tip(row)))
        for row in plan.positions
    ]
    return Path(header=header, poses=poses)


def ghost_state(arm: ArmModel, positions: Float64, header: Header) -> JointStateMsg:
    """Where the ghost's joints are."""
    return JointStateMsg(header=header, name=list(arm.joint_names), position=positions.tolist())


def workspace_marker(lower_m: Sequence[float], upper_m: Sequence[float], header: Header) -> Marker:
    """The twelve edges of the box that the tip may be in, base frame."""
    corners = list(product(*zip(lower_m, upper_m, strict=True)))
    edges = [
        (a, b)
        for i, a in enumerate(corners)
        for b in corners[i + 1 :]
        if sum(x != y for x, y in zip(a, b, strict=True)) == 1
    ]
    marker = Marker(header=header, ns="workspace", type=Marker.LINE_LIST, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale.x, marker.color = LINE_M, AMBER
    marker.points = [Point(x=x, y=y, z=z) for edge in edges for x, y, z in edge]
    return marker


class Troubles:
    """The newest word of every node, and which of them are not well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[DiagnosticStatus, int]] = {}

    def hear(self, statuses: Sequence[DiagnosticStatus]) -> None:
        """Keep what came."""
        now_ns = self._clock.monotonic_ns()
        self._heard.update({status.name: (status, now_ns) for status in statuses})

    def lines(self) -> tuple[tuple[bytes, str], ...]:
        """(level, "node: sentence") of each node that is not well, the worst first."""
        now_ns = self._clock.monotonic_ns()
        found: list[tuple[bytes, str]] = []
        for name, (status, heard_ns) in self._heard.items():
            if now_ns - heard_ns > seconds_to_ns(SILENT_AFTER_S):
                age_s = ns_to_seconds(now_ns - heard_ns)
                found.append((DiagnosticStatus.ERROR, f"{name}: silent for {age_s:.0f} s"))
            elif status.level != DiagnosticStatus.OK:
                found.append((status.level, f"{name}: {status.message}"))
        return tuple(sorted(found, key=lambda line: (-line[0][0], line[1])))

    def marker(self, header: Header, height_m: float) -> Marker:
        """All lines as one text above the base."""
        lines = self.lines()
        marker = Marker(header=header, ns="diagnostics", type=Marker.TEXT_VIEW_FACING)
        marker.action, marker.pose.position.z = Marker.ADD, height_m
        marker.pose.orientation.w, marker.scale.z = 1.0, TEXT_M
        words = "\n".join(text for _, text in lines)
        marker.text = words or f"{len(self._heard)} nodes, all well"
        worst = lines[0][0] if lines else DiagnosticStatus.OK
        marker.color = {DiagnosticStatus.OK: GREEN, DiagnosticStatus.WARN: AMBER}.get(worst, RED)
        return marker
