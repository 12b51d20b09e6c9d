"""kill -9 of the recorder, of a camera, of teleoperation, at random moments of a recording.

Two emulated arms at an emulated CAN wire, teleoperation between them, a camera, the recorder. Every
episode that was finished must be whole; each torn one must come back up to half a second before the
kill, and open in `rosbags`, `mcap` and our own replay.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from mvista_bringup.graph.spec import NodeSpec, started_rows
from mvista_bringup.graph.teleop import ARMS as ARM_ROWS
from mvista_bringup.graph.teleop import TELEOP, TELEOP_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor, command_line, free_udp_port
from mvista_core.errors import ConfigError, MvistaError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import ManualClock, SystemClock, ns_to_seconds
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run
from mvista_eval.record.graph import READY_S, RecordDesk, bolt, recorder
from mvista_recorder.episode_player import EpisodePlayer
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import EPISODE, episode_folders, is_finished
from mvista_recorder.repair import faults, repair
from mvista_ros.spinning import spinning

CAMERA, ARM, FPS = "cam0", "piper", 5
VICTIMS = ("recorder", "camera", "teleop")
EARLIEST_S, LATEST_S, AFTER_S = 0.5, 3.0, 1.0
ALLOWED_S = 0.5


@dataclass
class Killed:
    """What the kills of one victim left."""

    kills: int = 0
    finished: int = 0
    broken: list[str] = field(default_factory=list)
    """What is wrong with finished episodes, and with repaired ones."""
    torn: int = 0
    lost_s: list[float] = field(default_factory=list)
    """Of each torn episode: from its newest message to the kill."""


class Victim(AbstractContextManager["Victim"]):
    """One row as a process of its own, which may be killed and started again."""

    def __init__(self, row: NodeSpec, values: dict[str, str], log: Path) -> None:
        (placed,) = started_rows((row,), values)
        self._command, self._log = command_line(placed, values), log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Victim:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """In a session of its own; what it says is added to its log."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, to all of its session."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def measure_kills(kills: int, seed: int) -> Measured:
    """So many kills of each victim.

    Raises:
        ConfigError: none. UnavailableError: a process ended by itself, or nothing was recorded.
    """
    if kills < 1:
        raise ConfigError(f"--kills is {kills}; allowed: 1 and more")
    clock, run_dir = SystemClock(), output_dir("bench", "record_kills")
    shutil.rmtree(run_dir, ignore_errors=True)
    (run_dir / "logs").mkdir(parents=True)
    root, chosen = run_dir / "episodes", {"hardware": "emulated", "arm": ARM}
    chosen |= {"can_port": str(free_udp_port()), "leader_can_port": str(free_udp_port())}
    values = option_values(TELEOP_OPTIONS, chosen, str(share_root()))
    (teleop,) = (row for row in TELEOP if row not in ARM_ROWS and isinstance(row, NodeSpec))
    rows = {
        "recorder": recorder(root, (CAMERA,), (ARM,), least_share=0.2, fps=FPS),
        "camera": bolt(CAMERA, 0, "", FPS),
        "teleop": teleop,
    }
    rng = np.random.default_rng(seed)
    with (
        Supervisor(ARM_ROWS, values, run_dir, clock=clock) as supervisor,
        spinning(RecordDesk, supervisor.domain_id) as desk,
        Victim(rows["camera"], values, run_dir / "logs" / "camera.log") as camera,
        Victim(rows["teleop"], values, run_dir / "logs" / "teleop.log") as teleoperation,
        Victim(rows["recorder"], values, run_dir / "logs" / "recorder.log") as recording,
    ):
        supervisor.wait_ready(READY_S)
        victims = dict(zip(VICTIMS, (recording, camera, teleoperation), strict=True))
        run = _Run(supervisor, desk, clock, root, rng)
        found = {name: run.of(name, victim, kills) for name, victim in victims.items()}
    return _told(kills, seed, found)


@dataclass(frozen=True)
class _Run:
    supervisor: Supervisor
    desk: RecordDesk
    clock: Clock
    root: Path
    rng: np.random.Generator

    def of(self, name: str, victim: Victim, kills: int) -> Killed:
        """Kill one victim so often."""
        found = Killed()
        for _ in range(kills):
            before = self._there()
            self.desk.start(self.supervisor)
            if name == "recorder" and not found.finished:
                # Something that was finished must be there to be lost.
                self._wait(EARLIEST_S)
                self.desk.end()
                found.finished += 1
                self.desk.start(self.supervisor)
            self._wait(float(self.rng.uniform(EARLIEST_S, LATEST_S)))
            killed_ns = self.clock.now_ns()
            victim.kill()
            found.kills += 1
            if name != "recorder":
                self._wait(AFTER_S)
                self.desk.end()
                found.finished += 1
            self._judge(found, self._there() - before, killed_ns)
            victim.start()
        return found

    def _there(self) -> set[Path]:
        return set(episode_folders(self.root)) if self.root.is_dir() else set()

    def _wait(self, seconds: float) -> None:
        let_run(self.supervisor, seconds, self.clock)

    def _judge(self, found: Killed, left: set[Path], killed_ns: int) -> None:
        for folder in sorted(left):
            if is_finished(folder):
                found.broken += faults(folder) + opened(folder)
            else:
                found.torn += 1
                try:
                    mended = repair(folder, self.root.parent / "mended")
                except MvistaError as error:
                    found.broken.append(str(error))
                    continue
                found.broken += faults(mended) + opened(mended)
                newest_ns = max(m.log_ns for m in EpisodeReader(mended).messages())
                found.lost_s.append(ns_to_seconds(killed_ns - newest_ns))


def opened(folder: Path) -> list[str]:
    """What `rosbags`, `mcap` and our replay have against an episode, a line each."""
    reader = EpisodeReader(folder)
    wanted = sum(stream.count for stream in reader.manifest.streams.values())
    with AnyReader([folder]) as bag:
        by_rosbags = bag.message_count
    with (folder / EPISODE).open("rb") as file:
        by_mcap = sum(1 for _ in make_reader(file).iter_messages())
    clock = ManualClock(1)
    player = EpisodePlayer(reader, clock)
    clock.advance(3600.0)
    by_replay = sum(1 for _ in player.due())
    heard = {"rosbags": by_rosbags, "mcap": by_mcap, "replay": by_replay}
    return [
        f"{folder.name}: {name} finds {count} of {wanted} messages"
        for name, count in heard.items()
        if count != wanted
    ]


def _told(kills: int, seed: int, found: dict[str, Killed]) -> Measured:
    if not found["recorder"].torn:
        raise UnavailableError("no kill of the recorder left a torn episode: nothing was tried")
    lines = [_line(name, one) for name, one in found.items()]
    broken = [line for one in found.values() for line in one.broken]
    lost_s = found["recorder"].lost_s or [float("nan")]
    figures = [
        Figure("episodes that are not whole, or do not open", float(len(broken)), 0.0),
        Figure("most that a repaired one lacks before the kill (s)", max(lost_s), ALLOWED_S),
    ]
    document: dict[str, Any] = {
        "kills": kills,
        "seed": seed,
        "victims": {name: asdict(one) for name, one in found.items()},
    }
    words = "\n".join([*lines, *broken])
    return Measured(
        f"record: {kills} kills of each of {', '.join(VICTIMS)}", words, document, figures
    )


def _line(name: str, one: Killed) -> str:
    said = f"{name:<10}killed {one.kills} times; {one.finished} episodes finished, {one.torn} torn"
    if not one.lost_s:
        return said
    lost: Sequence[float] = sorted(one.lost_s)
    middle = lost[len(lost) // 2]
    return f"{said}, repaired up to {middle:.2f} s (middle) and {lost[-1]:.2f} s (most) before it"
