"""The camera and the replay as real processes: topics, stamps, previews, health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.options import SHARE
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_cameras.emulator.scene import FEMTO_BOLT_COLOR, Scene
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.spinning import spinning

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.timeout(240)]

CLOCK = SystemClock()
READY_S, PATIENCE_S = 90.0, 60.0


class Reader(Node):
    """Keeps the messages of one camera, by topic."""

    def __init__(self, camera: str, **arguments: Any) -> None:
        super().__init__("reader", **arguments)
        self.messages: dict[str, list[Any]] = {}
        self.health: dict[str, DiagnosticStatus] = {}
        names = ("color/image_raw", "depth/image_raw", "color/preview", "depth/preview")
        for name in (*names, "depth/native"):
            self._listen(Image, camera, name)
        for name in ("color/camera_info", "color/preview_info"):
            self._listen(CameraInfo, camera, name)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, qos.STATUS)

    def _listen(self, kind: type[Any], camera: str, name: str) -> None:
        kept = self.messages[name] = []
        self.create_subscription(kind, f"/{camera}/{name}", kept.append, qos.SENSOR_ALL_IN)

    def _on_health(self, message: DiagnosticArray) -> None:
        self.health.update({status.name: status for status in message.status})

    def wait(self, names: tuple[str, ...], count: int, health: str) -> None:
        """Until each topic delivered so often and `health` was told; silence fails the test."""
        until_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
        while health not in self.health or any(len(self.messages[n]) < count for n in names):
            assert CLOCK.monotonic_ns() < until_ns, (
                {n: len(m) for n, m in self.messages.items()},
                sorted(self.health),
            )
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))


@contextmanager
def running(spec: NodeSpec, camera: str, folder: Path) -> Iterator[Reader]:
    with (
        Supervisor((spec,), {SHARE: str(share_root())}, folder) as supervisor,
        spinning(partial(Reader, camera), supervisor.domain_id) as reader,
    ):
        supervisor.wait_ready(READY_S)
        yield reader
        supervisor.check()


def camera_spec(**parameters: Any) -> NodeSpec:
    chosen = {"backend": "emulated", "rate_hz": 5, "native_depth": True, **parameters}
    return NodeSpec(
        "mvista_cameras",
        "camera_node",
        "camera",
        namespace="/cam0",
        parameter_file="config/cameras.yaml",
        parameters=tuple(chosen.items()),
    )


def test_a_camera_serves_its_topics(tmp_path: Path) -> None:
    sent_log = tmp_path / "sent.csv"
    with running(camera_spec(sent_log=str(sent_log)), "cam0", tmp_path) as reader:
        reader.wait(tuple(reader.messages), 2, "/cam0/camera")
        messages, health = dict(reader.messages), reader.health["/cam0/camera"]
    colors = {convert.stamp_to_ns(m.header.stamp): m for m in messages["color/image_raw"]}
    depths = {convert.stamp_to_ns(m.header.stamp): m for m in messages["depth/image_raw"]}
    both = sorted(set(colors) & set(depths))
    assert both
    frame = convert.frame_from_msgs(
        "cam0",
        colors[both[0]],
        depths[both[0]],
        convert.intrinsics_from_msg(messages["color/camera_info"][0]),
    )
    assert frame.intrinsics == FEMTO_BOLT_COLOR
    assert colors[both[0]].header.frame_id == "cam0_color_optical_frame"
    true_m = Scene().depth_m(frame.intrinsics)
    seen = (frame.depth_m > 0) & (np.hypot(*np.gradient(true_m)) < 0.01)
    assert np.median(np.abs(frame.depth_m - true_m)[seen]) < 0.002
    assert (messages["depth/native"][0].width, messages["depth/native"][0].height) == (640, 576)
    assert (messages["depth/preview"][0].width, messages["depth/preview"][0].height) == (320, 180)
    assert messages["color/preview_info"][0].width == 320
    values = {value.key: value.value for value in health.values}
    assert values["link"] == "USB3.2"
    assert values["colour profile"] == "1280x720@5 MJPG"
    assert {"rate (Hz)", "sync read back", "camera clock steps"} <= set(values)
    logged = {int(line.split(",")[0]) for line in sent_log.read_text().splitlines()[1:]}
    assert set(colors) <= logged
