"""The camera node's tap, at the process: readers of every kind, two processes, kill -9."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import Image

from mvista_bringup.supervisor import free_domain_id
from mvista_cameras.emulator.truth import true_capture_ns
from mvista_core.capture import Capture
from mvista_core.registration import Registration
from mvista_core.tap import QUEUE, TapReader
from mvista_core.tap_wire import tap_path
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.convert.jpeg import decode_jpeg
from mvista_ros.spinning import spinning
from tests.cameras.emulated import SMALL

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
PATIENCE_S = 40.0


@dataclass
class Cell:
    """A domain with one camera's name, and the processes that were started under it."""

    folder: Path
    domain_id: int = field(default_factory=free_domain_id)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tap(self) -> Path:
        return tap_path("cam0", domain=self.domain_id)

    def start(self, **parameters: Any) -> subprocess.Popen[bytes]:
        """The real node over an emulated camera, small and noisy."""
        faults = self.folder / "faults.json"
        faults.write_text(json.dumps({"noisy": True}), encoding="utf-8")
        command = [sys.executable, "-m", "tests.cameras.faulty_camera_node", str(faults)]
        command += ["--ros-args", "-r", "__ns:=/cam0", "-p", "backend:=emulated"]
        for name, value in {**SMALL, **parameters}.items():
            command += ["-p", f"{name}:={value}"]
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain_id)}
        log = (self.folder / f"{len(self.processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        self.processes.append(process)
        return process

    def log(self, number: int) -> str:
        return (self.folder / f"{number}.log").read_text(encoding="utf-8", errors="replace")

    def counts(self) -> dict[str, int]:
        """What the node decoded and registered so far."""
        text = (self.folder / "faults.json.counts").read_text(encoding="utf-8")
        return {str(name): int(count) for name, count in json.loads(text).items()}


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    made = Cell(tmp_path)
    yield made
    for process in made.processes:
        process.terminate()
        process.wait(20.0)


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
    while not condition():
        assert process is None or process.poll() is None, "the camera node has ended"
        assert CLOCK.monotonic_ns() < deadline_ns
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 10_000_000)


def taken(reader: TapReader, count: int) -> list[Capture]:
    captures = [reader.next(PATIENCE_S) for _ in range(count)]
    assert None not in captures
    return [capture for capture in captures if capture is not None]


class Topics(Node):
    """Keeps colour and depth by stamp."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("topics", **arguments)
        self.images: dict[str, dict[int, Image]] = {}
        for name in ("color/image_raw", "depth/image_raw"):
            kept = self.images[name] = {}
            keep = partial(self._keep, kept)
            self.create_subscription(Image, f"/cam0/{name}", keep, qos.SENSOR_ALL_IN)

    @staticmethod
    def _keep(kept: dict[int, Image], message: Image) -> None:
        kept[convert.stamp_to_ns(message.header.stamp)] = message


def test_nothing_is_decoded_for_the_tap_and_topics_show_the_same_captures(cell: Cell) -> None:
    process = cell.start()
    with TapReader(cell.tap, decode_jpeg) as reader:
        captures = taken(reader, 30)
        assert cell.counts() == {"decoded": 0, "registered": 0}
        assert (np.diff([c.sequence for c in captures]) > 0).all()
        errors_ms = [(c.stamp_ns - true_capture_ns(c.jpeg)) / 1e6 for c in captures]
        assert np.abs(errors_ms).max() < 5.0
        with spinning(Topics, cell.domain_id) as topics:
            colors, depths = (topics.images[n] for n in ("color/image_raw", "depth/image_raw"))
            until(lambda: len(colors) > 5 and len(depths) > 5, process)
            captures = taken(reader, 60)
            until(lambda: max(depths) > captures[-1].stamp_ns, process)
        both = [c for c in captures if c.stamp_ns in colors and c.stamp_ns in depths]
        assert len(both) > 3
        registration = Registration(both[0].calibration)
        for capture in both[-3:]:
            shown = convert.color_from_msg(colors[capture.stamp_ns])
            np.testing.assert_array_equal(shown, capture.pixels())
            shown_m = convert.depth_from_msg(depths[capture.stamp_ns])
            expected_mm = registration.register(capture.native_depth_mm)
            np.testing.assert_array_equal(np.rint(shown_m * 1000), expected_mm)
        until(lambda: cell.counts()["decoded"] > 5 and cell.counts()["registered"] > 5, process)


def test_readers_that_stick_die_or_write_harm_neither_camera_nor_reader(cell: Cell) -> None:
    process = cell.start()
    with TapReader(cell.tap, decode_jpeg) as reader:
        taken(reader, 1)
        strange = []
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(os.fspath(cell.tap))
            strange.append(client)
        stuck, dying, writing = strange
        writing.sendall(b"\x00garbage" * 5000)
        dying.close()
        # Longer than the queue of the one that sticks.
        captures = taken(reader, 2 * QUEUE)
        gaps = np.diff([c.sequence for c in captures]) - 1
        assert (gaps >= 0).all() and reader.lost >= gaps.sum()
        assert reader.runs == 1 and reader.torn == 0 and process.poll() is None
        stuck.close()
        writing.close()


def test_a_second_process_of_one_name_is_refused_and_the_first_goes_on(cell: Cell) -> None:
    cell.start()
    with TapReader(cell.tap, decode_jpeg) as reader:
        taken(reader, 1)
        second = cell.start()
        assert second.wait(PATIENCE_S) != 0
        assert "(41)" in cell.log(1) and "is served by another process" in cell.log(1)
        taken(reader, 5)
        assert reader.runs == 1


def test_a_camera_that_was_killed_starts_anew_over_its_stale_socket(cell: Cell) -> None:
    first = cell.start()
    with TapReader(cell.tap, decode_jpeg) as reader:
        before = taken(reader, 3)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert cell.tap.exists()
        cell.start()
        after = taken(reader, 3)
        while after[-1].stamp_ns <= before[-1].stamp_ns or reader.runs < 2:
            after += taken(reader, 1)
        assert reader.runs == 2 and reader.connected
