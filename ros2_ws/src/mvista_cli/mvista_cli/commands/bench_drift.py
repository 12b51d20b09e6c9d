"""`mvista bench drift`: does the drift watch notice a moved camera, and stay quiet otherwise."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_cli import repeat_choices
from mvista_eval.drift import PARTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=("all", *PARTS), default="all")
    parser.add_argument("--seconds", type=int, default=3600, help="of unmoved frames, in 4 scenes")
    parser.add_argument("--seeds", type=int, default=2, help="scenes in which cameras are moved")
    repeat_choices.add(parser)
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.drift.table import measure
    from mvista_eval.figures import finish

    parts = PARTS if args.part == "all" else (args.part,)
    return finish(measure(args.seconds, args.seeds, repeat_choices.how_of(args), parts), args.json)
