"""`mvista calibrate simulate`: a session rendered in the simulated cell, its truth beside it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_cli.choices import GRIPPER, TABLE

DEPTH_WIDTH_PX = 1280


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where the session is written; must be new")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", type=int, default=15)
    parser.add_argument("--board-at", choices=(GRIPPER, TABLE), default=GRIPPER)
    parser.add_argument("--width", type=int, default=3840, help="of the colour images, px")


def run(args: argparse.Namespace) -> int:
    from mvista_bringup.paths import config_file
    from mvista_calibration_sim.board_cell import CellSession, render_session
    from mvista_core.arm import load_arm

    wanted = CellSession(
        args.seed,
        shots=args.shots,
        board_at=args.board_at,
        colour_width_px=args.width,
        depth_width_px=min(args.width, DEPTH_WIDTH_PX),
    )
    render_session(args.folder, wanted, load_arm(config_file("arms", "piper.yaml")))
    sys.stdout.write(
        f"{args.folder}: {args.shots} shots, truth in truth.yaml\n"
        f"next: mvista calibrate solve {args.folder} --truth {args.folder}/truth.yaml\n"
    )
    return 0
