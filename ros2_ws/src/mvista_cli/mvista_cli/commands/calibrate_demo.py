"""`mvista calibrate demo`: collect, solve and verify on a simulated cell, over real ROS 2.

Leaves the session, the solver's `report.html` and rig, the truth and `demo.json` in the output
folder. Exit code 0 when the gate passed the rig and it held when verified.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from mvista_cli.choices import METHODS

FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="places, lenses, depth sensors")
    parser.add_argument("--width", type=int, default=1920, help="of the colour images: 3840 to 640")
    parser.add_argument("--depth-frames", type=int, default=10, help="averaged per shot")
    parser.add_argument("--method", choices=METHODS, default="ours")
    parser.add_argument("--out", type=Path, help="default: build/calibration/demo_<seed>")


def run(args: argparse.Namespace) -> int:
    from mvista_bringup.paths import output_dir
    from mvista_cli.demo.calibration import CalibrationDemo, run_demo
    from mvista_core.timing import SystemClock
    from mvista_eval.facts import machine, versions
    from mvista_eval.figures import write_json

    out = args.out or output_dir("calibration", f"demo_{args.seed}")
    out.mkdir(parents=True, exist_ok=True)
    wanted = CalibrationDemo(args.seed, args.width, args.depth_frames, args.method)
    found = run_demo(wanted, out, SystemClock(), _show)
    facts = {fact.name: fact.value for fact in (*versions(), *machine())}
    write_json(out / "demo.json", {**asdict(wanted), **asdict(found), "facts": facts})
    errors = ", ".join(f"{name} {error:.2f}" for name, error in found.errors_mm.items())
    sys.stdout.write(
        f"{found.words}\n{found.verified}\nagainst the truth (mm over the workspace): {errors}\n"
        f"report: {found.report}\n"
    )
    return 0 if found.passed and found.holds else FAILED


def _show(stage: str, words: str) -> None:
    sys.stderr.write(f"{stage}: {words}\n")
    sys.stderr.flush()
