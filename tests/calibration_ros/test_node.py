"""The calibration node on live topics of the simulated cell: collect, solve, verify, /tf_static."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from mvista_interfaces.action import CollectCalibration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from mvista_bringup.graph.calibrate import CALIBRATE, CALIBRATE_OPTIONS
from mvista_bringup.graph.spec import with_parameters
from mvista_bringup.options import TRUE, option_values
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_cli.operator.calibration_client import CalibrationClient, calibration_client
from mvista_core.errors import CalibrationError, ConfigError, MvistaError, RigError
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_eval.calibration.truth import errors_mm, load_truth
from mvista_ros.convert import transform_from_msg
from mvista_ros.spinning import spinning

pytestmark = [pytest.mark.system, pytest.mark.beside]

CLOCK = SystemClock()
FEW = 3
AS_TF2 = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""What tf2's listener asks for: of two latchers it gets both messages."""


@dataclass
class Desk:
    """The running graph, a client, and somebody who listens to /tf_static from the beginning."""

    folder: Path
    client: CalibrationClient
    domain_id: int
    early: list[TransformStamped] = field(default_factory=list)

    def hear(self, message: TFMessage) -> None:
        self.early += message.transforms

    def late(self) -> list[TransformStamped]:
        """All that somebody is told who joins now, by one publisher."""
        heard: list[TransformStamped] = []
        with spinning(partial(Node, "late"), self.domain_id) as node:
            node.create_subscription(
                TFMessage, "/tf_static", lambda m: heard.extend(m.transforms), AS_TF2
            )
            until_ns = CLOCK.monotonic_ns() + seconds_to_ns(60.0)
            while not heard and CLOCK.monotonic_ns() < until_ns:
                CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))
            assert node.count_publishers("/tf_static") == 1
        return heard


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("calibration")
    chosen = {
        "sim": TRUE,
        "width": "1280",
        "depth_frames": "2",
        "sessions_folder": str(folder / "sessions"),
        "truth_file": str(folder / "truth.yaml"),
    }
    values = option_values(CALIBRATE_OPTIONS, chosen, str(share_root()))
    # Nobody has to watch, and the images are small: what is shown by default is for 4K and an eye.
    graph = with_parameters(CALIBRATE, "sim", frame_rate_hz=5.0, move_s=0.5)
    with Supervisor(graph, values, folder) as supervisor:
        supervisor.wait_ready(120.0)
        domain_id = supervisor.domain_id
        with (
            calibration_client(domain_id, CLOCK, supervisor.check) as client,
            spinning(partial(Node, "listener"), domain_id) as node,
        ):
            desk = Desk(folder, client, domain_id)
            node.create_subscription(TFMessage, "/tf_static", desk.hear, AS_TF2)
            yield desk


def _ignore(feedback: object) -> None:
    return


@pytest.mark.timeout(400)
def test_a_rig_from_live_topics_is_right_and_is_published(desk: Desk) -> None:
    guided: list[CollectCalibration.Feedback] = []
    few = desk.client.collect("cell", FEW, guided.append)
    assert few.shots == FEW and f"{FEW} of 15 shots" in few.missing
    collected = desk.client.collect("cell", 0, guided.append)
    assert collected.shots >= 15 and min(collected.views) >= 5 and not collected.missing
    assert any(f.refused for f in guided) and any(all(f.sees) for f in guided)
    assert [f.shots for f in guided] == sorted(f.shots for f in guided)
    assert max(f.workspace_coverage for f in guided) > 0.3

    with pytest.raises(CalibrationError, match="still seen by"):
        desk.client.scene("cell", _ignore, take_away=False)
    desk.client.scene("cell", _ignore)

    stages: list[str] = []
    solved = desk.client.solve("cell", "", lambda f: stages.append(f.stage))
    assert {"detect", "board", "robot", "depth bias"} <= set(stages)
    assert Path(solved.report).is_file()
    rig = load_rig(solved.rig_file, allow_failed=True)
    errors = errors_mm(rig, load_truth(desk.folder / "truth.yaml"))
    assert max(errors.values()) < 5.0, errors
    assert solved.passed, solved.words
    assert "Shown on /tf_static by /rig_publisher" in solved.words
    for heard in (desk.early, desk.late()):
        assert [t.child_frame_id for t in heard] == [f"{n}_color_optical_frame" for n in rig.names]
        for transform, camera in zip(heard, rig.cameras, strict=True):
            assert transform.header.frame_id == "piper_base"
            found = transform_from_msg(transform)
            np.testing.assert_allclose(found, camera.base_from_camera, atol=1e-9)

    verified = desk.client.verify(solved.rig_file, "cell", _ignore)
    assert verified.holds and list(verified.cameras) == ["cam1", "cam2", "cam3", "piper_base"]
    assert max(verified.moved_m) < 1e-3

    desk.client.show_board(True)
    guided.clear()
    again = desk.client.verify(solved.rig_file, "", guided.append)
    assert again.holds, again.words
    assert set(again.cameras) >= {"cam1", "cam2", "cam3"} and max(again.moved_m) < 5e-3
    assert min(guided[-1].views) >= 2


@pytest.mark.parametrize(
    ("session", "method", "kind", "words"),
    [
        ("nothing", "", CalibrationError, "nothing"),
        ("", "", ConfigError, "name one in the goal"),
        ("nothing", "guess", CalibrationError, "one_pose"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(
    desk: Desk, session: str, method: str, kind: type[MvistaError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        desk.client.solve(session, method, _ignore)


def test_a_rig_file_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(RigError, match=r"nowhere\.yaml"):
        desk.client.verify(str(desk.folder / "nowhere.yaml"), "cell", _ignore)
