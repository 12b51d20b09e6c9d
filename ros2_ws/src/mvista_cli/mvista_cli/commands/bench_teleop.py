"""`mvista bench teleop`: leader to follower over two emulated CAN buses."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=600.0, help="half of it at rest")
    parser.add_argument("--seed", type=int, default=0, help="of the hand's motion")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import finish
    from mvista_eval.teleop.bench import measure

    return finish(measure(args.seconds, args.seed), args.json)
