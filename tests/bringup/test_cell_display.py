"""What RViz is shown: the plan's path and ghost, the workspace box, and what is wrong."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from hypothesis import given
from hypothesis import strategies as st
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker

from mvista_bringup import cell_display as display
from mvista_bringup.graph.monitor import MONITOR, MONITOR_OPTIONS
from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.options import option_values
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.arm import load_arm
from mvista_core.errors import TrajectoryError
from mvista_core.timing import ManualClock
from mvista_ros import qos
from mvista_ros.showing import PAUSE_S, SILENT_AFTER_S, NodeWord, NodeWords, ShownPlan
from mvista_ros.spinning import spinning

pytestmark = pytest.mark.ros

ARM = load_arm(Path(__file__).parents[2] / "config" / "arms" / "piper.yaml")
HEADER = Header(frame_id="piper_base")


def _message(names: list[str], rows: np.ndarray, period_s: float = 0.5) -> JointTrajectory:
    message = JointTrajectory(joint_names=names)
    for number, row in enumerate(rows):
        point = JointTrajectoryPoint(positions=row.tolist())
        time_s = number * period_s
        point.time_from_start.sec = int(time_s)
        point.time_from_start.nanosec = round((time_s - int(time_s)) * 1e9)
        message.points.append(point)
    return message


def _rows(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(ARM.lower, ARM.upper, (count, len(ARM.joint_names)))


def test_joints_are_mapped_by_name() -> None:
    rows, names = _rows(4), list(ARM.joint_names)
    plan = ShownPlan.of(_message(names[::-1], rows[:, ::-1]), ARM)
    assert np.allclose(plan.positions, rows)
    assert np.allclose(plan.times_s, [0.0, 0.5, 1.0, 1.5])


def test_another_arms_plan_and_an_empty_one_are_refused() -> None:
    with pytest.raises(TrajectoryError, match="gripper"):
        ShownPlan.of(_message(["joint1"], _rows(2)[:, :1]), ARM)
    with pytest.raises(TrajectoryError, match="0 points"):
        ShownPlan.of(_message(list(ARM.joint_names), _rows(0)), ARM)


def test_the_path_is_the_tips() -> None:
    plan = ShownPlan.of(_message(list(ARM.joint_names), _rows(5)), ARM)
    path = display.path_of(plan, ARM, HEADER)
    assert path.header.frame_id == "piper_base" and len(path.poses) == 5
    for pose, row in zip(path.poses, plan.positions, strict=True):
        at = pose.pose.position
        assert np.allclose([at.x, at.y, at.z], ARM.base_from_tip(row)[:3, 3])


@given(st.floats(0.0, 100.0))
def test_the_ghost_plays_between_the_points_rests_and_begins_again(elapsed_s: float) -> None:
    plan = ShownPlan.of(_message(list(ARM.joint_names), _rows(4)), ARM)
    shown = plan.at(elapsed_s)
    assert (shown >= plan.positions.min(0) - 1e-9).all()
    assert (shown <= plan.positions.max(0) + 1e-9).all()
    round_s = 1.5 + PAUSE_S
    assert np.allclose(plan.at(0.0), plan.positions[0])
    assert np.allclose(plan.at(1.6), plan.positions[-1]), "it rests at the end"
    assert np.allclose(plan.at(round_s + 0.5), plan.positions[1])


def test_the_box_has_its_twelve_edges() -> None:
    lower, upper = (-0.3, -0.6, 0.0), (0.8, 0.6, 0.9)
    marker = display.workspace_marker(lower, upper, HEADER)
    ends = [(p.x, p.y, p.z) for p in marker.points]
    assert marker.type == Marker.LINE_LIST and len(ends) == 24
    lengths = sorted(np.linalg.norm(np.subtract(a, b)) for a, b in list(pairwise(ends))[::2])
    assert np.allclose(lengths, [0.9] * 4 + [1.1] * 4 + [1.2] * 4)
    assert np.allclose(np.min(ends, 0), lower) and np.allclose(np.max(ends, 0), upper)


def _status(name: str, level: bytes, message: str = "") -> DiagnosticStatus:
    return DiagnosticStatus(name=name, level=level, message=message)


def test_the_worst_trouble_comes_first_and_gives_the_colour() -> None:
    troubles = NodeWords(ManualClock())
    troubles.hear([_status("/task", DiagnosticStatus.OK, "idle")])
    assert display.troubles_marker(troubles, HEADER, 1.0).text == "1 nodes, all well"
    assert display.troubles_marker(troubles, HEADER, 1.0).color == display.GREEN
    troubles.hear([_status("/cam0/camera", DiagnosticStatus.WARN, "12 Hz")])
    assert display.troubles_marker(troubles, HEADER, 1.0).color == display.AMBER
    troubles.hear([_status("/piper/driver", DiagnosticStatus.ERROR, "bus lost")])
    marker = display.troubles_marker(troubles, HEADER, 1.0)
    assert marker.text == "/piper/driver: bus lost\n/cam0/camera: 12 Hz"
    assert marker.color == display.RED and marker.pose.position.z == 1.0


def test_a_node_that_falls_silent_is_a_trouble_until_it_speaks() -> None:
    clock = ManualClock()
    troubles = NodeWords(clock)
    troubles.hear([_status("/sim", DiagnosticStatus.OK)])
    clock.advance(SILENT_AFTER_S + 1.0)
    silent = NodeWord("/sim", DiagnosticStatus.ERROR, "silent for 4 s")
    assert troubles.troubles() == (silent,)
    troubles.hear([_status("/sim", DiagnosticStatus.OK)])
    assert troubles.troubles() == ()


def test_the_ghost_stands_where_the_arm_stands_before_the_first_plan(tmp_path: Path) -> None:
    """In a process, in a namespace: without joints its links would have no frames."""
    nodes = [row for row in MONITOR if isinstance(row, NodeSpec)]
    (row,) = [row for row in nodes if row.name == "cell_display"]
    values = option_values(MONITOR_OPTIONS, {"namespace": "cell_a"}, str(share_root()))
    stand = np.linspace(ARM.home, ARM.upper, 5)[1]
    heard: list[JointStateMsg] = []
    frames: list[TFMessage] = []
    with (
        Supervisor((row,), values, tmp_path) as supervisor,
        spinning(partial(Node, "arm", namespace="cell_a"), supervisor.domain_id) as node,
    ):
        node.create_subscription(
            JointStateMsg, "piper/planned/joint_states", heard.append, qos.SENSOR_IN
        )
        node.create_subscription(TFMessage, "tf_static", frames.append, qos.STATIC)
        arm = node.create_publisher(JointStateMsg, "piper/joint_states", qos.SENSOR_OUT)
        deadline_s = time.monotonic() + 40.0
        while time.monotonic() < deadline_s:
            supervisor.check()
            if heard:  # what stood at home before anything was measured
                arm.publish(display.ghost_state(ARM, stand, HEADER))
            time.sleep(0.02)
            if heard and frames and np.allclose(heard[-1].position, stand):
                break
    assert np.allclose(heard[0].position, ARM.home), "nothing was measured yet"
    assert np.allclose(heard[-1].position, stand)
    (ghost,) = frames[0].transforms
    assert (ghost.header.frame_id, ghost.child_frame_id) == ("piper_base", "planned/piper_base")
