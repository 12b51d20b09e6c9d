"""`mvista eval latent`: what Eq. 11 has to work with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import repeat_choices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--episodes", type=int, default=16, help="touch_cube scenes")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    repeat_choices.add(parser)
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import write_json
    from mvista_eval.latent import NOISE_LEVELS, measure

    rows, document = measure(args.checkpoint, args.episodes, args.seed, repeat_choices.how_of(args))
    sys.stdout.write("told       " + "".join(f"   t={t:<5}" for t in NOISE_LEVELS) + "\n")
    sys.stdout.write("".join(f"{row}\n" for row in rows))
    write_json(args.json, document)
    return 0
