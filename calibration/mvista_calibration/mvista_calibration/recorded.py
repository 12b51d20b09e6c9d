"""Solve and verify recorded sessions, and what is written: the one way, for node and command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from mvista_calibration.judge.verify import Verification, verify_rig
from mvista_calibration.output.report import write_report
from mvista_calibration.output.save import check_stream_width, rig_of, save_calibration
from mvista_calibration.pipeline import METHODS, calibrate
from mvista_calibration.session.layout import parse_header
from mvista_calibration.session.reader import load_session
from mvista_calibration.solve.intrinsics import IntrinsicsResult, calibrate_intrinsics
from mvista_core.errors import CalibrationError
from mvista_core.ports import Clock, Progress
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import ns_to_seconds

RIG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class SolveRequest:
    """What is asked for. A rig that passes goes to `<rigs>/<rig>.yaml`; without `rig` to no place
    but the result's own folder, `out` or `<session>/result`. `stream_width_px` None: depth's."""

    session: Path
    rig: str = ""
    rigs: Path = Path("config/rigs")
    method: str = "ours"
    base_frame: str = "piper_base"
    keep_lenses: bool = False
    stream_width_px: int | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Solved:
    """The rig of a session with its report; `error` says why no rig file was put in place."""

    rig: RigCalibration
    passed: bool
    words: str
    report: Path
    rig_file: Path
    error: CalibrationError | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage, "detect" (reading and detection) among them."""


def solve(asked: SolveRequest, clock: Clock, progress: Progress) -> Solved:
    """Solve a session; report and files go to its result folder, the rig file where it belongs if
    the rig passed. What cannot be is refused before any image is read.

    Raises:
        CalibrationError: the request, the session or the method cannot be used.
        CancelledError: `progress` returned False.
    """
    target = _checked(asked)
    begun_ns = clock.monotonic_ns()
    session = load_session(asked.session, progress)
    read_s = ns_to_seconds(clock.monotonic_ns() - begun_ns)
    found = calibrate(session, asked.method, progress, clock, asked.keep_lenses)
    result = asked.out or asked.session / "result"
    report = write_report(session, found, result)
    date = datetime.fromtimestamp(clock.now_ns() / 1e9, timezone.utc).date().isoformat()
    name = asked.rig or re.sub(r"[^A-Za-z0-9_-]+", "_", session.name).strip("_") or "session"
    rig = rig_of(found, name, date, asked.base_frame, asked.stream_width_px)
    verdict, error = found.verdict, None
    try:
        written = save_calibration(rig, result, target)
    except CalibrationError as refused:
        written, error = result / f"{name}.yaml", refused
    seconds = {"detect": read_s, **found.seconds}
    return Solved(rig, verdict.passed, verdict.words, report, written, error, seconds)


def verify(folder: Path, rig_file: Path, progress: Progress) -> Verification:
    """Compare the rig file with the session in `folder`.

    Raises:
        CalibrationError, RigError: the session or the rig file cannot be used.
    """
    rig = load_rig(rig_file, allow_failed=True)
    return verify_rig(load_session(folder, progress), rig)


def lenses(
    folder: Path, cameras: Sequence[str], rational: bool, progress: Progress
) -> dict[str, IntrinsicsResult]:
    """Fit the lenses of these cameras (none named: all) to the session's views of the board.

    What session.yaml says of a lens is not used beyond its image size.

    Raises:
        CalibrationError: the session cannot be used or has no such camera; too few views of one,
            or so alike that its focal length stays unsure.
    """
    session = load_session(folder, progress)
    found = {}
    for camera in [session.camera(name) for name in cameras or session.names]:
        views = [view for view in session.views if view.camera == camera.name]
        size = camera.intrinsics.width_px, camera.intrinsics.height_px
        found[camera.name] = calibrate_intrinsics(views, session.board, size, rational)
    return found


def _checked(asked: SolveRequest) -> Path | None:
    """The rig file that is asked for, once nothing speaks against the request."""
    if asked.method not in METHODS:
        raise CalibrationError(f"no method '{asked.method}'; there are {', '.join(METHODS)}")
    if not asked.base_frame:
        raise CalibrationError(
            "base_frame is empty; name the robot's base frame, such as piper_base"
        )
    settings = parse_header(asked.session / "session.yaml")
    for camera in settings.cameras:
        check_stream_width(camera, asked.stream_width_px)
    if not asked.rig:
        return None
    if not RIG_NAME.fullmatch(asked.rig):
        raise CalibrationError(
            f"rig is '{asked.rig}'; give a name of letters, digits, '_' and '-', without folder or "
            f".yaml: {asked.rigs}/<name>.yaml is written"
        )
    return asked.rigs / f"{asked.rig}.yaml"
