"""`mvista bench graph`: what each process of the demo takes, idle, planning and after a motion."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup.paths import DEFAULT_CHECKPOINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="measured at rest, twice")
    parser.add_argument(
        "--arm",
        choices=("simulated", "emulated"),
        default="simulated",
        help="the simulator's own, or one behind the Piper driver and an emulated CAN bus",
    )
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, help="of models/checkpoints")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.demo.client import planning_client
    from mvista_eval.figures import finish
    from mvista_eval.graph import measure

    return finish(measure(args.seconds, args.arm, args.checkpoint, planning_client), args.json)
