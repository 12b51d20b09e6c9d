"""`mvista calibrate board|solve|verify`: a sheet to print, a session's answer, a rig's proof."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

import numpy as np

from mvista_bringup.calibration_truth import errors_mm, load_truth
from mvista_bringup.paths import share_root
from mvista_calibration.board.pattern import board_pdf
from mvista_calibration.recorded import SolveRequest, solve, verify
from mvista_calibration.records import Board
from mvista_core.errors import ConfigError
from mvista_core.files import replace_file
from mvista_core.timing import SystemClock

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
    truth = None if args.truth is None else load_truth(args.truth)
    asked = SolveRequest(
        args.session, args.rig, share_root() / "config" / "rigs", args.method, args.base_frame,
        args.keep_lenses, args.width, args.out,
    )  # fmt: skip
    found = solve(asked, SystemClock(), _progress)
    sys.stdout.write(f"{found.words}\nreport: {found.report}\n")
    read_s = found.seconds["detect"]
    stages = ", ".join(f"{k} {v:.1f}" for k, v in found.seconds.items() if k != "detect")
    total_s = sum(found.seconds.values())
    sys.stdout.write(f"{total_s:.1f} s: reading and detection {read_s:.1f}, {stages}\n")
    if truth is not None:
        errors = errors_mm(found.rig, truth)
        said = ", ".join(f"{name} {error:.2f}" for name, error in errors.items())
        sys.stdout.write(f"against the truth (mm over the workspace): {said}\n")
    if found.error is not None:
        raise found.error
    sys.stdout.write(f"rig file: {found.rig_file}\n")
    return 0 if found.passed else FAILED


def _verify(args: argparse.Namespace) -> int:
    found = verify(args.session, args.rig, _progress)
    for camera in found.cameras:
        sys.stdout.write(
            f"{camera.name}: moved by {camera.moved_m * 1e3:.1f} mm at the workspace, "
            f"{np.rad2deg(camera.turned_rad):.2f} deg ({camera.sigmas:.1f} sigma)\n"
        )
    sys.stdout.write(found.words + "\n")
    if args.json is not None:
        replace_file(args.json, json.dumps(asdict(found), indent=1) + "\n", ConfigError)
    return 0 if found.holds else FAILED


def _progress(stage: str, fraction: float) -> bool:
    sys.stderr.write(f"{stage}: {fraction:.0%}\n")
    return True
