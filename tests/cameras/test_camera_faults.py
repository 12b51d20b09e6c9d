"""The real camera node as a process over an emulated SDK that misbehaves: it lives, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from mvista_bringup.supervisor import free_domain_id
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.spinning import spinning
from tests.cameras.emulated import SMALL
from tests.fakes.step_clock import SteppedClock

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
NAME = "/cam0/camera"


class _Reader(Node):
    def __init__(self, **arguments: Any) -> None:
        super().__init__("reader", **arguments)
        self.depths = 0
        self.lens: CameraInfo | None = None
        self.late_s: deque[float] = deque(maxlen=5)
        self.told: deque[DiagnosticStatus] = deque(maxlen=1)
        self.create_subscription(Image, "/cam0/depth/image_raw", self._depth, qos.SENSOR_IN)
        self.create_subscription(CameraInfo, "/cam0/color/camera_info", self._info, qos.SENSOR_IN)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._health, qos.STATUS)

    def _depth(self, message: Image) -> None:
        self.depths += 1
        stamp_ns = convert.stamp_to_ns(message.header.stamp)
        self.late_s.append((CLOCK.now_ns() - stamp_ns) / 1e9)

    def _info(self, message: CameraInfo) -> None:
        self.lens = message

    def _health(self, message: DiagnosticArray) -> None:
        self.told.extend(status for status in message.status if status.name == NAME)


@dataclass
class Camera:
    """The process, its faults and what is heard of it."""

    process: subprocess.Popen[bytes]
    faults: Path
    wall: SteppedClock
    heard: _Reader

    def fault(self, **values: Any) -> None:
        """Set attributes of the emulated camera, all at once."""
        aside = self.faults.with_suffix(".new")
        aside.write_text(json.dumps(values), encoding="utf-8")
        aside.replace(self.faults)

    def says(self, level: bytes, *words: str) -> bool:
        """Whether its newest health has this level and these words."""
        status = self.heard.told[-1] if self.heard.told else None
        return (
            status is not None
            and status.level == level
            and all(word in status.message for word in words)
        )

    def value(self, key: str) -> str:
        return next(v.value for v in self.heard.told[-1].values if v.key == key)

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(seconds)
        while not condition():
            assert self.process.poll() is None, "the camera node has ended"
            assert CLOCK.monotonic_ns() < deadline_ns, self.heard.told
            CLOCK.sleep_until(CLOCK.monotonic_ns() + 10_000_000)

    def more_images(self, count: int = 5) -> None:
        before = self.heard.depths
        self.until(lambda: self.heard.depths >= before + count)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    faults, domain_id = tmp_path / "faults.json", free_domain_id()
    with SteppedClock(tmp_path) as wall, spinning(_Reader, domain_id) as reader:
        processes: list[subprocess.Popen[bytes]] = []

        def start(**values: Any) -> Camera:
            faults.write_text(json.dumps(values), encoding="utf-8")
            command = [sys.executable, "-m", "tests.cameras.faulty_camera_node", str(faults)]
            command += ["--ros-args", "-r", "__ns:=/cam0", "-p", "backend:=emulated"]
            for name, value in {**SMALL, "first_image_s": 2.0}.items():
                command += ["-p", f"{name}:={value}"]
            environment = wall.environment({**os.environ, "ROS_DOMAIN_ID": str(domain_id)})
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment))
            return Camera(processes[0], faults, wall, reader)

        yield start
        for process in processes:
            process.terminate()
            assert process.wait(20.0) == 0


DAMAGE = {
    "cut_depth": (False, True, "depth: "),
    "depth_size": (None, [320, 288], "depth: an image of 320x288"),
    "undecodable": (False, True, "colour: a JPEG of "),
}


def test_damaged_images_end_no_camera(started: Callable[..., Camera]) -> None:
    camera = started()
    camera.more_images()
    for name, (fine, bad, words) in DAMAGE.items():
        camera.fault(**{name: bad})
        camera.until(partial(camera.says, DiagnosticStatus.ERROR, "[38] images come", words))
        camera.fault(**{name: fine})
        camera.more_images()
        camera.until(partial(camera.says, DiagnosticStatus.WARN, "damaged images skipped", words))
        assert camera.value("starts since it streamed steadily") in ("0", "1")
    assert camera.value("connection losses") == "0"


def test_a_wall_clock_that_steps_moves_stamps_and_nothing_else(
    started: Callable[..., Camera],
) -> None:
    camera = started()
    camera.more_images(10)
    for step_s in (-17.0, 3600.0):
        camera.wall.step(step_s)
        camera.more_images(10)
        for late_s in camera.heard.late_s:
            assert late_s + camera.wall.offset_s == pytest.approx(0.1, abs=1.0)
        camera.heard.told.clear()
        camera.until(lambda: bool(camera.heard.told), 5.0)
    camera.until(lambda: camera.value("host clock steps").startswith("2 (last +3600."))
    assert camera.value("connection losses") == "0"


def test_a_lens_of_zeros_is_published_nowhere(started: Callable[..., Camera]) -> None:
    camera = started(without_lens=True)
    camera.until(partial(camera.says, DiagnosticStatus.ERROR, "[38]", "focal lengths are 0 and 0"))
    assert camera.heard.lens is None and camera.heard.depths == 0
    camera.fault(without_lens=False)
    camera.until(lambda: camera.heard.lens is not None)
    assert camera.heard.lens is not None
    assert convert.intrinsics_from_msg(camera.heard.lens).fx_px > 0
