"""`mvista calibrate solve`: a session's answer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_cli.choices import METHODS

FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, help="folder with session.yaml")
    parser.add_argument(
        "--rig", default="", help="name: config/rigs/<name>.yaml is written if it passes"
    )
    parser.add_argument("--method", choices=METHODS, default="ours")
    parser.add_argument(
        "--keep-lenses", action="store_true", help="as the factory says, not estimated with poses"
    )
    parser.add_argument("--base-frame", default="piper_base")
    parser.add_argument("--width", type=int, help="of the stream the rig file is for (depth's)")
    parser.add_argument("--out", type=Path, help="folder for report and files (SESSION/result)")
    parser.add_argument(
        "--truth", type=Path, help="truth.yaml of a simulated session: say the error"
    )


def run(args: argparse.Namespace) -> int:
    from mvista_bringup.paths import share_root
    from mvista_calibration.recorded import SolveRequest, solve
    from mvista_cli.operator.progress import percent
    from mvista_core.timing import SystemClock
    from mvista_eval.calibration.truth import errors_in_words, load_truth

    truth = None if args.truth is None else load_truth(args.truth)
    asked = SolveRequest(
        args.session, args.rig, share_root() / "config" / "rigs", args.method, args.base_frame,
        args.keep_lenses, args.width, args.out,
    )  # fmt: skip
    found = solve(asked, SystemClock(), percent)
    sys.stdout.write(f"{found.words}\nreport: {found.report}\n")
    read_s = found.seconds["detect"]
    stages = ", ".join(f"{k} {v:.1f}" for k, v in found.seconds.items() if k != "detect")
    total_s = sum(found.seconds.values())
    sys.stdout.write(f"{total_s:.1f} s: reading and detection {read_s:.1f}, {stages}\n")
    if truth is not None:
        sys.stdout.write(errors_in_words(found.rig, truth) + "\n")
    if found.error is not None:
        raise found.error
    sys.stdout.write(f"rig file: {found.rig_file}\n")
    return 0 if found.passed else FAILED
