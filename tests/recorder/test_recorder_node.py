"""The recorder's node among real publishers: taps, topics, services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mvista_interfaces.srv import EndEpisode, LabelEpisode, StartEpisode
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from mvista_core.errors import InstructionError, StreamError
from mvista_core.records import JointState
from mvista_core.rig import load_rig, save_rig
from mvista_core.tap import Tap
from mvista_core.tap_wire import tap_path
from mvista_core.timing import NS_PER_S, SystemClock
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import TF_STATIC, CameraChannels, episode_folders
from mvista_recorder.manifest import load_manifest
from mvista_recorder.recorder_node import RecorderNode
from mvista_recorder.repair import faults
from mvista_ros import qos
from mvista_ros.actions import call_service
from mvista_ros.convert import joint_state_to_msg
from mvista_ros.convert.depth_png import depth_from_transport
from tests.recorder.made import ARM, RIG
from tests.recorder.small_cell import COLOR, RATE_HZ, Cell
from tests.recorder.test_recorder import wait_until
from tests.ros.conftest import domain_id, spinning

pytestmark = [pytest.mark.ros, pytest.mark.slow]
__all__ = ["domain_id", "spinning"]

WAIT_S = 20.0


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    rig = load_rig(RIG)
    cameras = tuple(replace(camera, intrinsics=COLOR) for camera in rig.cameras[:2])
    save_rig(replace(rig, cameras=cameras), tmp_path / "rig.yaml")
    return tmp_path / "rig.yaml"


@pytest.fixture
def cell(
    spinning: Callable[[Node], Node],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    domain_id: int,
) -> Iterator[Cell]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    made = Cell()
    spinning(made)
    yield made
    made.tap.close()


@pytest.fixture
def recorder(
    cell: Cell,
    spinning: Callable[[Node], Node],
    rig_file: Path,
    tmp_path: Path,
) -> Iterator[RecorderNode]:
    values = {
        "root": str(tmp_path / "root"),
        "rig_file": str(rig_file),
        "arm_file": str(ARM),
        "camera_rate_hz": RATE_HZ / 2,
        "joint_rate_hz": RATE_HZ / 2,
        "least_free_gib": 0.01,
    }
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = RecorderNode(parameter_overrides=overrides)
    spinning(node)
    yield node
    node.stop()


def asked(cell: Cell, kind: Any, name: str, **fields: object) -> Any:
    client = cell.create_client(kind, f"recorder/{name}")
    return call_service(client, kind.Request(**fields), SystemClock(), WAIT_S)


def test_a_tap_topics_and_joints_become_one_episode(cell: Cell, recorder: RecorderNode) -> None:
    refused = asked(cell, StartEpisode, "start", instruction="")
    assert refused.outcome.code == InstructionError.code
    wait_until(lambda: not recorder.recorder.state().troubles, WAIT_S)
    started = asked(cell, StartEpisode, "start", instruction="open the drawer")
    assert started.outcome.code == 0, started.outcome.message
    color = CameraChannels.of("cam0").color.name
    wait_until(
        lambda: all(s.count >= 8 for s in recorder.recorder.state().streams if s.wanted_hz), WAIT_S
    )
    ended = asked(cell, EndEpisode, "end", label=EndEpisode.Request.UNLABELLED)
    assert (ended.outcome.code, ended.episode) == (0, started.episode)
    labelled = asked(cell, LabelEpisode, "label", label="success")
    assert labelled.outcome.code == 0
    (folder,) = episode_folders(recorder.recorder.settings.root)
    assert faults(folder) == [] and load_manifest(folder).label == "success"

    reader = EpisodeReader(folder)
    found = list(reader.messages())
    jpegs = [schemas.picture_from_bytes(m.data) for m in found if m.topic == color]
    assert len(jpegs) >= 8
    assert all(bytes(p.data) == cell.jpegs[p.stamp_ns] for p in jpegs), "the camera's own bytes"
    for message in found:
        if message.topic == CameraChannels.of("cam0").depth.name:
            depth = depth_from_transport(schemas.picture_from_bytes(message.data).data)
            assert np.array_equal(depth, cell.depths[message.capture_ns])
    streams = reader.manifest.streams
    assert streams[CameraChannels.of("cam1").color.name].count >= 8, "from its topics"
    frames = [schemas.read(m.data, m.type) for m in found if m.topic == TF_STATIC]
    children = {transform.child_frame_id for transform in frames[-1].transforms}
    assert {"cam0_color_optical_frame", "cam0_depth_optical_frame"} <= children
    residuals = reader.manifest.sync["clock_residual_ms"]
    assert residuals[color]["max_ms"] == 1.0
    assert len(reader.joints("/piper/joint_states")) >= 8


def test_what_was_heard_before_the_end_is_written(cell: Cell, recorder: RecorderNode) -> None:
    wait_until(lambda: not recorder.recorder.state().troubles, WAIT_S)
    assert asked(cell, StartEpisode, "start", instruction="x").outcome.code == 0
    names = tuple(f"joint{k}" for k in range(1, 8))
    burst = [cell.clock.now_ns() + k for k in range(200)]
    for stamp_ns in burst:
        state = JointState(names, np.arange(7.0), np.zeros(7), stamp_ns)
        cell.joints.publish(joint_state_to_msg(state))
    assert cell.joints.wait_for_all_acked(Duration(seconds=WAIT_S))
    ended = asked(cell, EndEpisode, "end", label=EndEpisode.Request.UNLABELLED)
    assert ended.outcome.code == 0
    (folder,) = episode_folders(recorder.recorder.settings.root)
    found = [m for m in EpisodeReader(folder).messages() if m.topic == "/piper/joint_states"]
    assert {m.capture_ns for m in found} >= set(burst)
    assert all(m.log_ns >= m.capture_ns - len(burst) for m in found)


def test_topics_of_a_camera_are_let_go_when_its_tap_is_up_and_taken_again_without(
    cell: Cell, recorder: RecorderNode
) -> None:
    """A camera decodes and registers every capture for whoever has subscribed."""

    def readers(camera: str) -> set[int]:
        names = ("color/image_raw", "depth/image_raw", "color/camera_info")
        return {cell.count_subscribers(f"/{camera}/{name}") for name in names}

    for _ in range(2):
        wait_until(lambda: readers("cam1") == {1}, WAIT_S)
        wait_until(lambda: not recorder.recorder.state().troubles, WAIT_S)
        with Tap(tap_path("cam1"), "cam1"):
            wait_until(lambda: readers("cam1") == {0}, WAIT_S)
    assert readers("cam0") == {0}


def test_images_of_topics_that_cannot_be_read_are_told_and_counted(
    cell: Cell, recorder: RecorderNode
) -> None:
    wait_until(lambda: not recorder.recorder.state().troubles, WAIT_S)
    topic, color = "/cam1/color/image_raw", CameraChannels.of("cam1").color.name
    sender = cell.create_publisher(Image, topic, qos.SENSOR_OUT)

    def told() -> bool:
        sender.publish(Image(encoding="yuv422", width=2, height=2, step=4, data=bytes(8)))
        return recorder.listening.dropped(topic) > 0

    wait_until(told, WAIT_S)
    assert topic in recorder.listening.troubles() and "yuv422" in recorder.listening.troubles()
    (dropped,) = [s.dropped for s in recorder.recorder.state().streams if s.topic == color]
    assert dropped > 0


def test_a_camera_with_another_lens_is_refused(cell: Cell, recorder: RecorderNode) -> None:
    other = replace(COLOR, fx_px=60.0, fy_px=60.0)
    cell.calibration = replace(cell.calibration, color=other)
    wait_until(lambda: any("lens" in line for line in recorder.recorder.state().troubles), WAIT_S)
    refused = asked(cell, StartEpisode, "start", instruction="open the drawer")
    assert refused.outcome.code == StreamError.code and "calibrate anew" in refused.outcome.message
    assert not recorder.recorder.settings.root.exists()


def test_a_camera_that_stops_is_told_and_the_rest_goes_on(
    cell: Cell, recorder: RecorderNode
) -> None:
    wait_until(lambda: not recorder.recorder.state().troubles, WAIT_S)
    assert asked(cell, StartEpisode, "start", instruction="x").outcome.code == 0
    cell.tap.close()
    color = CameraChannels.of("cam0").color.name
    wait_until(
        lambda: any(s.absent for s in recorder.recorder.state().streams if s.topic == color), WAIT_S
    )
    clock = SystemClock()
    clock.sleep_until(clock.monotonic_ns() + NS_PER_S // 2)
    assert asked(cell, EndEpisode, "end", label="failure").outcome.code == 0
    (folder,) = episode_folders(recorder.recorder.settings.root)
    manifest = load_manifest(folder)
    assert any("cam0" in event and "silent" in event for event in manifest.events)
    assert faults(folder) == []
