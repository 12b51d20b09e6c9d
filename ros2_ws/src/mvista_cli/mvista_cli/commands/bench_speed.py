"""`mvista bench speed`: what each way of being quick saves in imagining, and what it costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup.paths import checkpoint_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plans", type=int, default=3, help="of each row, after the first")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[2, 4, 6, 10, 20], help="of the solvers' curve"
    )
    parser.add_argument("--reference", type=int, default=50, help="steps that it is held against")
    parser.add_argument("--compiled", action="store_true", help="also blocks by torch.compile")
    parser.add_argument("--precision", default="fp32", help="auto, bf16 or fp32")
    parser.add_argument("--device", default="cpu", help="auto (a card if any), cpu or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="0: all cores but one")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint_dir())
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import finish
    from mvista_eval.speed_cost import SpeedLoad, measure_speed

    load = SpeedLoad(
        args.checkpoint,
        args.plans,
        tuple(args.steps),
        args.reference,
        args.compiled,
        args.precision,
        args.threads,
        args.device,
    )
    return finish(measure_speed(load), args.json)
