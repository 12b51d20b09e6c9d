"""`mvista eval gate`: which wrong futures can be told from right ones, and at how many alarms."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import repeat_choices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--episodes", type=int, default=16, help="touch_cube scenes, each twice")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument(
        "--limits-seed", type=int, default=30_000, help="first seed of the scenes that set limits"
    )
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    repeat_choices.add(parser)
    parser.add_argument(
        "--write", action="store_true", help="make the limits those of the checkpoint (gate.json)"
    )
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.doubt import measure
    from mvista_eval.figures import write_json

    rows, document = measure(
        args.checkpoint,
        args.episodes,
        args.seed,
        args.limits_seed,
        repeat_choices.how_of(args),
        args.write,
    )
    limits = ", ".join(f"{name} {value:.4f}" for name, value in document["limits"].items())
    sys.stdout.write(f"limits: {limits}\n" + "".join(f"{row}\n" for row in rows))
    write_json(args.json, document)
    return 0
