"""`mvista eval latent`: what Eq. 11 has to work with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import repeat_choices
from mvista_sim.tasks import TEMPLATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    repeat_choices.add(parser)
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import write_json
    from mvista_eval.latent import NOISE_LEVELS, measure

    asked = args.checkpoint, args.episodes, args.seed
    rows, document = measure(*asked, repeat_choices.how_of(args), args.task)
    sys.stdout.write("future    told     " + "".join(f"   t={t:<5}" for t in NOISE_LEVELS) + "\n")
    sys.stdout.write("".join(f"{row}\n" for row in rows))
    write_json(args.json, document)
    return 0
