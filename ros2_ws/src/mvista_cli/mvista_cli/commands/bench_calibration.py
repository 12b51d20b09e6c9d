"""`mvista bench calibration`: calibration against truth, over many simulated sessions."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_cli import repeat_choices
from mvista_eval.calibration import PARTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=("all", *PARTS), default="all")
    parser.add_argument("--sessions", type=int, help="of each part, instead of the usual number")
    parser.add_argument("--first-seed", type=int, help="of each part, instead of the usual one")
    repeat_choices.add(parser, workers=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--results", type=Path, help="write the tables (Markdown) here")


def run(args: argparse.Namespace) -> int:
    from mvista_core.errors import ConfigError
    from mvista_core.files import replace_file
    from mvista_eval.calibration.tables import HEAD, measure, together
    from mvista_eval.figures import finish

    parts = PARTS if args.part == "all" else (args.part,)
    found = together(
        [measure(p, args.sessions, args.first_seed, repeat_choices.how_of(args)) for p in parts]
    )
    if args.results is not None:
        replace_file(args.results, HEAD + found.words, ConfigError)
    return finish(found, args.json)
