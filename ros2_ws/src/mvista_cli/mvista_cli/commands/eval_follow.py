"""`mvista eval follow`: does the plan follow what was imagined, in its goal and in its motion."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import repeat_choices, view_choices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--episodes", type=int, default=12, help="touch_cube scenes")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument(
        "--head-only", action="store_true", help="without +ActionInit, in a third of the time"
    )
    view_choices.add_mode(parser)
    view_choices.add_literal(parser)
    view_choices.add_action_head(parser)
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    repeat_choices.add(parser)
    parser.add_argument("--json", type=Path, help="write the tables here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import write_json
    from mvista_eval.follow.table import measure

    tables, document = measure(
        args.checkpoint,
        args.episodes,
        args.seed,
        not args.head_only,
        repeat_choices.how_of(args),
        view_choices.method_of(args),
    )
    sys.stdout.write("\n".join(tables.lines()) + "\n")
    write_json(args.json, document)
    return 0
