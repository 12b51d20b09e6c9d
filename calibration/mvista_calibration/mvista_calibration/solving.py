"""Solve and verify recorded sessions, and what is written: the same steps for node and tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from mvista_calibration.pipeline import METHODS, calibrate
from mvista_calibration.report import write_report
from mvista_calibration.save import rig_of, save_calibration
from mvista_calibration.session_files import load_session
from mvista_calibration.verify import Verification, verify_rig
from mvista_core.errors import CalibrationError
from mvista_core.ports import Clock, Progress
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig


@dataclass(frozen=True)
class Solved:
    """The rig of a session with its report; `error` says why no rig file was put in place."""

    rig: RigCalibration
    passed: bool
    words: str
    report: Path
    rig_file: Path
    error: CalibrationError | None = None


def solve(
    folder: Path,
    rig_file: Path | None,
    method: str,
    base_frame: str,
    clock: Clock,
    progress: Progress,
    keep_lenses: bool = False,
) -> Solved:
    """Solve the session in `folder`; report and files go to `<folder>/result`.

    `rig_file` (None: none) is written only by a rig that passed.

    Raises:
        CalibrationError: the session or the method cannot be used. CancelledError: `progress`.
    """
    method = method or "ours"
    if method not in METHODS:
        raise CalibrationError(f"no method '{method}'; there are {', '.join(METHODS)}")
    session = load_session(folder, progress)
    found = calibrate(session, method, progress, clock, keep_lenses)
    result = folder / "result"
    report = write_report(session, found, result)
    date = datetime.fromtimestamp(clock.now_ns() / 1e9, timezone.utc).date().isoformat()
    name = rig_file.stem if rig_file is not None else session.name.replace(" ", "_")
    rig = rig_of(found, name, date, base_frame)
    verdict = found.verdict
    try:
        written = save_calibration(rig, result, rig_file)
    except CalibrationError as error:
        kept = result / f"{name}.yaml"
        return Solved(rig, verdict.passed, verdict.words, report, kept, error)
    return Solved(rig, verdict.passed, verdict.words, report, written)


def verify(folder: Path, rig_file: Path, progress: Progress) -> Verification:
    """Compare the rig file with the session in `folder`.

    Raises:
        CalibrationError, RigError: the session or the rig file cannot be used.
    """
    rig = load_rig(rig_file, allow_failed=True)
    return verify_rig(load_session(folder, progress), rig)
