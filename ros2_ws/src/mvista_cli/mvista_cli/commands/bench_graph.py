"""`mvista bench graph`: what each process of the simulated demo takes, idle and while it plans."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup.paths import checkpoint_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="measured idle")
    parser.add_argument("--checkpoint", default=checkpoint_dir().name, help="of models/checkpoints")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.demo.client import planning_client
    from mvista_eval.figures import finish
    from mvista_eval.graph import measure

    return finish(measure(args.seconds, args.checkpoint, planning_client), args.json)
