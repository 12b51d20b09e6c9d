"""`mvista record` as an operator runs it: on a terminal, among real streams."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mvista_interfaces.srv import EndEpisode
from rclpy.node import Node

from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import episode_folders
from mvista_recorder.manifest import load_manifest
from mvista_recorder.repair import faults, repair
from mvista_ros.actions import call_service
from tests.recorder.made import RIG
from tests.recorder.small_cell import Cell
from tests.recorder.test_recorder import wait_until
from tests.ros.conftest import domain_id, spinning

pytestmark = pytest.mark.system
__all__ = ["domain_id", "spinning"]

WAIT_S = 60.0


class Operator:
    """`mvista record` on a terminal of its own, as a shell starts it."""

    def __init__(self, out: Path) -> None:
        self.end, theirs = pty.openpty()
        words = ["record", "open the drawer", "--out", str(out), "--cameras", "cam0"]
        rates = ["--camera-rate", "3", "--joint-rate", "3", "--least-free", "0.01"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mvista_cli.cli", *words, *rates],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.seen = ""

    def shows(self, words: str) -> bool:
        """Whether the screen has shown it by now."""
        while self.end >= 0 and select.select([self.end], [], [], 0.0)[0]:
            try:
                self.seen += os.read(self.end, 1 << 16).decode(errors="replace")
            except OSError:
                break
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        return words in self.seen

    def press(self, letter: str) -> None:
        self.seen = ""
        os.write(self.end, letter.encode())

    def hang_up(self) -> None:
        os.close(self.end)
        self.end = -1


@pytest.fixture
def cell(
    spinning: Callable[[Node], Node],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Cell]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    made = Cell(load_rig(RIG).camera("cam0").intrinsics)
    spinning(made)
    yield made
    made.tap.close()


@pytest.fixture
def operator(cell: Cell, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(tmp_path / "episodes")
    yield made
    made.process.kill()
    made.process.wait()


def begun(operator: Operator) -> None:
    """Press `s` until the streams are in order and an episode is recorded."""

    def tried() -> bool:
        if not operator.shows("RECORDING"):
            operator.press("s")
            SystemClock().sleep_until(SystemClock().monotonic_ns() + 500_000_000)
        return operator.shows("RECORDING")

    wait_until(lambda: operator.shows("s start"), WAIT_S)
    try:
        wait_until(tried, WAIT_S)
    except AssertionError:
        raise AssertionError(operator.seen[-2000:]) from None


def test_a_terminal_that_hangs_up_ends_nothing(
    cell: Cell, operator: Operator, tmp_path: Path
) -> None:
    begun(operator)
    operator.hang_up()
    clock = SystemClock()
    clock.sleep_until(clock.monotonic_ns() + 1_000_000_000)
    client = cell.create_client(EndEpisode, "recorder/end")
    ended = call_service(client, EndEpisode.Request(label="success"), clock, WAIT_S)
    assert ended.outcome.code == 0, ended.outcome.message
    operator.process.send_signal(signal.SIGTERM)
    assert operator.process.wait(WAIT_S) == 0
    (folder,) = episode_folders(tmp_path / "episodes")
    assert faults(folder) == [] and load_manifest(folder).label == "success"


def test_what_a_kill_leaves_is_repaired(cell: Cell, operator: Operator, tmp_path: Path) -> None:
    begun(operator)
    operator.press("y")
    wait_until(lambda: operator.shows("1 success"), WAIT_S)
    begun(operator)
    clock = SystemClock()
    clock.sleep_until(clock.monotonic_ns() + 2_000_000_000)
    killed_ns = clock.now_ns()
    operator.process.kill()
    operator.process.wait()
    # By name they are in either order: both may have begun within one second.
    whole, torn = sorted(episode_folders(tmp_path / "episodes"), key=lambda path: path.suffix)
    assert faults(whole) == [] and torn.suffix == ".partial"
    mended = repair(torn, tmp_path / "mended")
    last_ns = max(message.log_ns for message in EpisodeReader(mended).messages())
    assert killed_ns - last_ns < 1_000_000_000
