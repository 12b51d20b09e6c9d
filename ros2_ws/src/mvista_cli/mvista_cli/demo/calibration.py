"""A whole calibration on the simulated cell over real ROS 2: collected, solved, verified, judged.

Cameras, board and arm are processes of their own; the calibration node sees nothing but topics.
What came out is held against the truth, which only the simulator and this module know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvista_bringup import paths
from mvista_bringup.graph.calibrate import CALIBRATE, CALIBRATE_OPTIONS
from mvista_bringup.options import TRUE, option_values
from mvista_bringup.supervisor import Supervisor
from mvista_cli.operator.calibration_client import CalibrationClient, calibration_client
from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_core.rig import load_rig
from mvista_core.timing import ns_to_seconds
from mvista_eval.calibration.truth import errors_mm, load_truth

START_TIMEOUT_S = 180.0
SESSION = "cell"
Show = Callable[[str, str], None]
"""Called with a stage and what it says, whenever that changes."""


@dataclass(frozen=True)
class CalibrationDemo:
    """What to do: which cell, how sharp its cameras, how much depth is averaged."""

    seed: int
    width_px: int
    depth_frames: int
    method: str = "ours"


@dataclass
class CalibrationRecord:
    """What came of it. `errors_mm`: each camera's points over the workspace against the truth, in
    the robot's frame."""

    passed: bool = False
    words: str = ""
    holds: bool = False
    verified: str = ""
    report: str = ""
    rig_file: str = ""
    shots: int = 0
    errors_mm: dict[str, float] = field(default_factory=dict)
    stages_s: dict[str, float] = field(default_factory=dict)


def run_demo(wanted: CalibrationDemo, out: Path, clock: Clock, show: Show) -> CalibrationRecord:
    """Carry it out in `out`, where a session of an earlier run must not lie.

    Raises:
        MvistaError: a stage failed; every process is stopped in any case.
    """
    sessions, truth_file = out / "sessions", out / "truth.yaml"
    if (sessions / SESSION).exists():
        raise ConfigError(f"{sessions / SESSION} exists; remove it, or give another --out")
    chosen = {
        "sim": TRUE,
        "seed": str(wanted.seed),
        "width": str(wanted.width_px),
        "depth_frames": str(wanted.depth_frames),
        "sessions_folder": str(sessions.resolve()),
        "truth_file": str(truth_file.resolve()),
    }
    values = option_values(CALIBRATE_OPTIONS, chosen, str(paths.share_root()))
    record = CalibrationRecord()
    timed = _Stages(record, clock, show)
    with Supervisor(CALIBRATE, values, out) as supervisor:
        with timed("start"):
            supervisor.wait_ready(START_TIMEOUT_S)
        with calibration_client(supervisor.domain_id, clock, supervisor.check) as client:
            _calibrate(client, wanted, record, timed)
    rig = load_rig(record.rig_file, allow_failed=True)
    record.errors_mm = errors_mm(rig, load_truth(truth_file))
    return record


def _calibrate(
    client: CalibrationClient, wanted: CalibrationDemo, record: CalibrationRecord, timed: _Stages
) -> None:
    with timed("collect"):
        record.shots = int(client.collect(SESSION, 0, timed.hear).shots)
    with timed("scene"):
        client.scene(SESSION, timed.hear)
    with timed("solve"):
        solved = client.solve(SESSION, wanted.method, timed.hear)
    record.passed, record.words = bool(solved.passed), str(solved.words)
    record.report, record.rig_file = str(solved.report), str(solved.rig_file)
    client.show_board(True)
    with timed("verify"):
        verified = client.verify(record.rig_file, "", timed.hear)
    record.holds, record.verified = bool(verified.holds), str(verified.words)


class _Stages:
    """Times stages by name and passes their words on."""

    def __init__(self, record: CalibrationRecord, clock: Clock, show: Show) -> None:
        self._record, self._clock, self._show = record, clock, show
        self._stage = self._said = ""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._stage, begun_ns = stage, self._clock.monotonic_ns()
        self._show(stage, "...")
        try:
            yield
        finally:
            seconds = ns_to_seconds(self._clock.monotonic_ns() - begun_ns)
            self._record.stages_s[stage] = round(seconds, 2)
            self._show(stage, f"{seconds:.1f} s")

    def hear(self, feedback: Any) -> None:
        """A goal's feedback, in words; the same twice is said once."""
        said = f"{feedback.stage} {feedback.progress:.0%}"
        if hasattr(feedback, "advice") and feedback.cameras:
            seen = [n for n, sees in zip(feedback.cameras, feedback.sees, strict=False) if sees]
            said = f"{feedback.stage}, {feedback.shots} shots, seen by {', '.join(seen) or 'none'}"
            said += f": {feedback.refused or feedback.advice}"
        if said != self._said:
            self._said = said
            self._show(self._stage, said)
