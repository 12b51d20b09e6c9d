"""`mvista eval style`: do the latents hold the motion?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a data set of executed episodes")
    parser.add_argument("--held-out", type=int, default=100, help="last episodes, to try it on")
    parser.add_argument("--view", type=int, default=0, help="which of the episodes' views is read")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument("--rig", type=Path, default=paths.config_file("rigs", "sim_cell.yaml"))
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_core.rig import load_rig
    from mvista_eval.figures import write_json
    from mvista_world.style_probe import STYLES, measure

    table = measure(args.checkpoint, args.folder, load_rig(args.rig), args.held_out, args.view)
    sys.stdout.write("R2 of      " + "".join(f"{style:>9}" for style in STYLES) + "\n")
    for name, row in table.items():
        sys.stdout.write(f"{name:11}" + "".join(f"{row[style]:9.3f}" for style in STYLES) + "\n")
    write_json(args.json, {"folder": str(args.folder), "held_out": args.held_out, "r2": table})
    return 0
