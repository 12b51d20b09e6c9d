"""`mvista calibrate simulate`: a session rendered in the simulated cell, its truth beside it."""

from __future__ import annotations

import argparse
import sys

from mvista_bringup.paths import config_file
from mvista_calibration_sim.board_cell import CellSession, render_session
from mvista_core.arm import load_arm

DEPTH_WIDTH_PX = 1280


def run(args: argparse.Namespace) -> int:
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
