"""What RViz is shown beside the topics that exist anyway: plan, workspace, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from mvista_core.arm import ArmModel
from mvista_core.records import Float64
from mvista_ros.convert import pose_to_msg
from mvista_ros.showing import NodeWords, ShownPlan

PLANNED = "planned/"
"""Prefix of the ghost's frames: `planned/piper_base`."""
LINE_M = 0.003
TEXT_M = 0.03
GREEN = ColorRGBA(r=0.2, g=0.8, b=0.3, a=1.0)
AMBER = ColorRGBA(r=1.0, g=0.75, b=0.1, a=1.0)
RED = ColorRGBA(r=1.0, g=0.2, b=0.15, a=1.0)


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


def troubles_marker(words: NodeWords, header: Header, height_m: float) -> Marker:
    """What is wrong, all of it as one text above the base."""
    troubles = words.troubles()
    marker = Marker(header=header, ns="diagnostics", type=Marker.TEXT_VIEW_FACING)
    marker.action, marker.pose.position.z = Marker.ADD, height_m
    marker.pose.orientation.w, marker.scale.z = 1.0, TEXT_M
    lines = "\n".join(f"{word.name}: {word.message}" for word in troubles)
    marker.text = lines or f"{len(words.all())} nodes, all well"
    worst = troubles[0].level if troubles else DiagnosticStatus.OK
    marker.color = {DiagnosticStatus.OK: GREEN, DiagnosticStatus.WARN: AMBER}.get(worst, RED)
    return marker
