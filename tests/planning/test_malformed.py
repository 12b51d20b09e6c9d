"""The planning process among senders of rubbish and with a clock that steps: it answers as ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion
from mvista_interfaces.action import Imagine
from mvista_interfaces.msg import PosedCamera
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from mvista_bringup.supervisor import free_domain_id
from mvista_core.errors import ObservationError
from mvista_core.timing import seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.convert import (
    optical_frame,
    pose_from_msg,
    posed_camera_to_msg,
    transform_from_msg,
)
from mvista_ros.observation import CameraTopics
from mvista_ros.spinning import spinning
from tests.fakes.noisy_cell import CLOCK, PERIOD_S, RIG, ROOT, NoisyCell
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.fakes.step_clock import SteppedClock

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.slow, pytest.mark.timeout(400)]

RUN = "from mvista_planning.planning_node import main; main()"


class Asker(NoisyCell):
    """The cell, and somebody who asks for a future of it."""

    def __init__(self, wall: SteppedClock, **arguments: Any) -> None:
        super().__init__(wall, **arguments)
        self.imagine = GoalClient(self, Imagine, "imagine")


@dataclass
class Planning:
    """The process, and the cell that it looks at."""

    process: subprocess.Popen[bytes]
    cell: Asker

    def imagine(self, **asked: Any) -> Imagine.Result:
        views = asked or {"source_camera": "cam1", "target_cameras": ["cam0", "cam2"]}
        goal = Imagine.Goal(instruction="touch the red cube", **views)
        _, result = call_action(
            self.cell.imagine, goal, CLOCK, server_timeout_s=90.0, answer_timeout_s=30.0
        )
        assert self.process.poll() is None
        return result


@pytest.fixture(scope="module")
def planning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planning]:
    folder, domain_id = tmp_path_factory.mktemp("planning"), free_domain_id()
    checkpoint = write_random_checkpoint(folder / "checkpoint")
    command = [sys.executable, "-c", RUN, "--ros-args", "-p", f"checkpoint:={checkpoint}"]
    with SteppedClock(folder) as wall, spinning(partial(Asker, wall), domain_id, threads=3) as cell:
        environment = wall.environment({**os.environ, "ROS_DOMAIN_ID": str(domain_id)})
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        yield Planning(process, cell)
        process.terminate()
        assert process.wait(30.0) == 0


def test_malformed_messages_end_nothing_and_are_told_by_topic(planning: Planning) -> None:
    result = planning.imagine()
    assert (result.outcome.code, result.outcome.message) == (0, "")
    expected = {"/piper/joint_states"}
    for name in RIG.names:
        topics = CameraTopics.of(name)
        expected |= {f"/{topics.color}", f"/{topics.depth}", f"/{topics.info}"}
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(20.0)
    while planning.cell.dropped("/planning") != expected:
        assert CLOCK.monotonic_ns() < deadline_ns, planning.cell.told
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))


@pytest.mark.parametrize("step_s", [-17.0, 3600.0])
def test_after_a_step_of_the_wall_clock_it_sees_what_is_now(
    planning: Planning, step_s: float
) -> None:
    assert planning.imagine().outcome.code == 0
    assert planning.cell.wall is not None
    planning.cell.wall.step(step_s)
    began_ns = CLOCK.monotonic_ns()
    result = planning.imagine()
    assert (result.outcome.code, result.outcome.message) == (0, "")
    took_s = (CLOCK.monotonic_ns() - began_ns) / 1e9
    assert 0.0 < result.observation_age_s < took_s + PERIOD_S


def test_a_lens_that_is_not_the_rigs_is_refused_with_a_number(planning: Planning) -> None:
    planning.cell.lens_factor = 1.2
    try:
        outcome = planning.imagine().outcome
    finally:
        planning.cell.lens_factor = 1.0
    assert outcome.code == ObservationError.code
    assert "is not the rig's" in outcome.message and "lens_shift_limit" in outcome.message


def posed(name: str = "guest", **changes: Any) -> PosedCamera:
    """cam0's own view, moved 2 cm: in the range of the checkpoint's fixed cameras."""
    camera = RIG.camera("cam0")
    pose = camera.base_from_camera.copy()
    pose[:3, 3] += changes.pop("shift_m", (0.0, 0.0, 0.02))
    message = posed_camera_to_msg(replace(camera, name=name, base_from_camera=pose))
    for field, value in changes.items():
        part, _, leaf = field.partition("__")
        setattr(getattr(message, part), leaf, value)
    return message


CENTRED = (0.0, 0.0, 0.0)
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no source": ({"target_cameras": ["cam0"]}, 10, "no source view"),
    "identical": ({"posed_cameras": [posed(shift_m=CENTRED)]}, 11, "stand 0 mm apart"),
    "far": ({"posed_cameras": [posed(shift_m=(0.0, 0.0, 0.4))]}, 11, "outside the range"),
    "below": ({"posed_cameras": [posed(shift_m=(0.0, 0.0, -0.7))]}, 11, "table's top"),
    "mirrored": (
        {"posed_cameras": [posed(camera_info__k=[-187.0, 0, 158, 0, 187, 92, 0, 0, 1])]},
        11,
        "focal lengths are -187",
    ),
    "not rigid": (
        {"posed_cameras": [posed(base_from_camera__orientation=Quaternion(w=1.2))]},
        11,
        "quaternion has length 1.2",
    ),
    "K of another size": (
        {"posed_cameras": [posed(camera_info__k=[747.9, 0, 640, 0, 747.9, 360, 0, 0, 1])]},
        11,
        "lies outside the image of 320x180",
    ),
    "six views": (
        {"target_cameras": ["cam0", "cam2", "cam3"], "posed_cameras": [posed("a"), posed("b")]},
        10,
        "6 views asked for",
    ),
    "a name that is the rig's": ({"posed_cameras": [posed("cam3")]}, 11, "is the rig's already"),
    "mode": ({"view_mode": 3}, 10, "view_mode 3 is none of"),
    "rollouts": ({"best_of": 17}, 10, "best_of 17"),
    "no limits": ({"best_of": 2}, 10, "no gate.json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_views_that_cannot_be_imagined_are_refused_at_the_action_by_number(
    planning: Planning, case: str
) -> None:
    asked, code, message = REFUSED[case]
    source = {} if case == "no source" else {"source_camera": "cam1", "target_cameras": ["cam0"]}
    outcome = planning.imagine(**{**source, **asked}).outcome
    assert (outcome.code, message in outcome.message) == (code, True), outcome.message


def test_a_camera_that_is_not_there_is_imagined_and_shown_as_a_frame(planning: Planning) -> None:
    far = posed("over_there", shift_m=(0.0, 0.0, 0.4))
    frames: list[TFMessage] = []
    images: list[Image] = []
    cell = planning.cell
    cell.create_subscription(TFMessage, "/tf", frames.append, qos.FRAMES)
    topic = "imagined/over_there/color/image_raw"
    cell.create_subscription(Image, topic, images.append, qos.SENSOR_IN)
    result = planning.imagine(
        source_camera="cam1", posed_cameras=[far], allow_out_of_range=True, view_mode=1, seed=7
    )
    assert (result.outcome.code, result.outcome.message, result.seed) == (0, "", 7)
    assert result.imagined == 1, "weights without limits of a gate are never unsure"
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(20.0)
    while not (frames and images) and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))
    (transform,) = frames[-1].transforms
    assert transform.header.frame_id == RIG.base_frame
    assert transform.child_frame_id == optical_frame("over_there") == images[-1].header.frame_id
    np.testing.assert_allclose(
        transform_from_msg(transform), pose_from_msg(far.base_from_camera), atol=1e-9
    )
