"""The rig on /tf_static: one publisher of it, and a late joiner gets the newest, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.paths import config_file
from mvista_bringup.supervisor import Supervisor
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import call_service
from mvista_ros.convert import optical_frame, transform_from_msg
from mvista_ros.spinning import spinning

pytestmark = pytest.mark.ros

CLOCK = SystemClock()
WAIT_S = 60.0
AS_TF2 = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""What tf2's listener asks for: of two latchers it gets both messages."""


class Joiner(Node):
    """Somebody who joins late, and may ask for another rig."""

    def __init__(self, context: Context) -> None:
        super().__init__("late", context=context)
        self.heard: list[TFMessage] = []
        self.lives = 0
        self.create_subscription(TFMessage, "/tf_static", self.heard.append, AS_TF2)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._live, qos.STATUS)
        self._set = self.create_client(SetParameters, "rig_publisher/set_parameters")

    def ask(self, file: Path | str) -> SetParametersResult:
        value = Parameter("rig_file", value=str(file)).to_parameter_msg()
        request = SetParameters.Request(parameters=[value])
        (answer,) = call_service(self._set, request, CLOCK, WAIT_S).results
        return answer

    def _live(self, message: DiagnosticArray) -> None:
        self.lives += 1


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(WAIT_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.02))


def joined(domain_id: int) -> list[TFMessage]:
    """All that a late joiner is told until the publisher has given two more signs of life."""
    with spinning(Joiner, domain_id) as node:
        until(lambda: bool(node.heard))
        lives = node.lives
        until(lambda: node.lives >= lives + 2)
        assert node.count_publishers("/tf_static") == 1
        return list(node.heard)


def check(heard: list[TFMessage], rig: RigCalibration) -> None:
    """One transform for each camera of this rig, and no other."""
    transforms = [transform for message in heard for transform in message.transforms]
    assert [t.child_frame_id for t in transforms] == [optical_frame(name) for name in rig.names]
    for transform, camera in zip(transforms, rig.cameras, strict=True):
        assert transform.header.frame_id == rig.base_frame == "piper_base"
        np.testing.assert_allclose(
            transform_from_msg(transform), camera.base_from_camera, atol=1e-9
        )


@pytest.fixture
def supervisor(
    rig_publisher: NodeSpec, values: dict[str, str], tmp_path: Path
) -> Iterator[Supervisor]:
    with Supervisor([rig_publisher], values, tmp_path) as supervisor:
        supervisor.wait_ready(WAIT_S)
        yield supervisor


def moved(to: Path, *changes: tuple[str, str]) -> Path:
    """The simulated cell's rig file with these texts in place of others."""
    text = config_file("rigs", "sim_cell.yaml").read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    to.write_text(text, "utf-8")
    return to


def test_a_late_joiner_gets_the_newest_rig_once(supervisor: Supervisor, tmp_path: Path) -> None:
    """Also one that was set meanwhile, as calibration does; what cannot be used changes nothing."""
    rig = load_rig(config_file("rigs", "sim_cell.yaml"))
    check(joined(supervisor.domain_id), rig)
    other = moved(tmp_path / "other.yaml", ("cam3", "door"))
    wrong = {
        "": "rig_file is empty",
        str(tmp_path / "absent.yaml"): "no rig file at",
        str(moved(tmp_path / "left.yaml", ("piper_base", "left_base"))): "measured from left_base",
    }
    with spinning(Joiner, supervisor.domain_id) as node:
        for file, words in wrong.items():
            answer = node.ask(file)
            assert not answer.successful and words in answer.reason, answer.reason
        until(lambda: len(node.heard) == 1)
        assert node.ask(other).successful
        until(lambda: len(node.heard) == 2)
        # Calibrated anew under the same name: the same file, another rig.
        moved(other, ("cam2", "window"))
        assert node.ask(other).successful
        until(lambda: len(node.heard) == 3)
    check(joined(supervisor.domain_id), load_rig(other))
    supervisor.check()
