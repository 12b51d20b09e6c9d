"""`mvista calibrate board|solve|verify`: a sheet to print, a session's answer, a rig's proof."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime, timezone

import numpy as np

from mvista_bringup.calibration_truth import errors_mm
from mvista_bringup.paths import config_file, output_dir
from mvista_calibration.boards import board_pdf
from mvista_calibration.pipeline import calibrate
from mvista_calibration.records import Board
from mvista_calibration.report import write_report
from mvista_calibration.save import rig_of, save_calibration
from mvista_calibration.session_files import load_session
from mvista_calibration.verify import verify_rig
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, ns_to_seconds

FAILED = 2


def run(args: argparse.Namespace) -> int:
    return {"board": _board, "solve": _solve, "verify": _verify}[args.verb](args)


def _board(args: argparse.Namespace) -> int:
    try:
        columns, rows = (int(word) for word in args.squares.lower().split("x"))
    except ValueError:
        raise ConfigError(f"--squares {args.squares}: give columns x rows, such as 14x9") from None
    board = Board(columns, rows, args.square_mm / 1e3, args.marker_mm / 1e3, args.dictionary)
    path = board_pdf(board, args.out)
    sys.stdout.write(f"{path}: print at 100 %, then measure the bar and note it in session.yaml\n")
    return 0


def _solve(args: argparse.Namespace) -> int:
    clock = SystemClock()
    begun_ns = clock.monotonic_ns()
    session = load_session(args.session, _progress)
    read_s = ns_to_seconds(clock.monotonic_ns() - begun_ns)
    found = calibrate(session, args.method, _progress, clock, args.keep_lenses)
    folder = args.out or output_dir("calibration", session.name.replace(" ", "_"))
    report = write_report(session, found, folder)
    name = args.rig or session.name.replace(" ", "_")
    today = datetime.now(timezone.utc).date().isoformat()
    rig = rig_of(found, name, today, args.base_frame, args.width)
    sys.stdout.write(f"{found.verdict.words}\nreport: {report}\n")
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found.seconds.items())
    total_s = read_s + sum(found.seconds.values())
    sys.stdout.write(f"{total_s:.1f} s: reading and detection {read_s:.1f}, {stages}\n")
    target = config_file("rigs", f"{args.rig}.yaml") if args.rig else None
    sys.stdout.write(f"rig file: {save_calibration(rig, folder, target)}\n")
    if args.truth is not None:
        errors = errors_mm(rig, args.truth)
        said = ", ".join(f"{name} {error:.2f}" for name, error in errors.items())
        sys.stdout.write(f"against the truth (mm over the workspace): {said}\n")
    return 0 if found.verdict.passed else FAILED


def _verify(args: argparse.Namespace) -> int:
    rig = load_rig(args.rig, allow_failed=True)
    found = verify_rig(load_session(args.session, _progress), rig)
    for camera in found.cameras:
        sys.stdout.write(
            f"{camera.name}: moved by {camera.moved_m * 1e3:.1f} mm at the workspace, "
            f"{np.rad2deg(camera.turned_rad):.2f} deg ({camera.sigmas:.1f} sigma)\n"
        )
    sys.stdout.write(found.words + "\n")
    if args.json is not None:
        args.json.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    return 0 if found.holds else FAILED


def _progress(stage: str, fraction: float) -> bool:
    sys.stderr.write(f"{stage}: {fraction:.0%}\n")
    return True
