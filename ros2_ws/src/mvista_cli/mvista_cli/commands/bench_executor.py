"""`mvista bench executor`: the set-points of the whole graph at work, as a driver gets them."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup.paths import DEFAULT_CHECKPOINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--cores", type=int, default=2, help="processor cores for the whole graph")
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, help="of models/checkpoints")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.executor.bench import measure
    from mvista_eval.figures import finish

    return finish(measure(args.seconds, args.cores, args.checkpoint), args.json)
