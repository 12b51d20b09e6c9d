"""`mvista eval success`: success rates of the whole pipeline in process, and what limits them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import repeat_choices, view_choices
from mvista_sim.tasks import TEMPLATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument(
        "--rows", default="all", help="names of rows separated by ';', or 'all', or 'full'"
    )
    parser.add_argument(
        "--pairs", action="store_true", help="touch_cube: each scene asked for two colours"
    )
    parser.add_argument("--instruction", help="for every scene; default: the scene's own")
    view_choices.add_mode(parser)
    view_choices.add_literal(parser)
    view_choices.add_action_head(parser)
    view_choices.add_best_of(parser)
    view_choices.add_drawn(parser)
    parser.add_argument(
        "--views",
        type=int,
        default=0,
        help="1 to 5, the source included: the checkpoint's cameras, then the rig's others, of "
        "which sim_cell has four and a drawn rig as many as asked for; more than three in mode 2 "
        "(default: the checkpoint's)",
    )
    repeat_choices.add(parser, workers=2)
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import write_json
    from mvista_eval.success.table import SuccessRequest, measure

    asked = SuccessRequest(
        args.task,
        args.episodes,
        args.seed,
        args.checkpoint,
        args.rows,
        args.pairs,
        view_choices.method_of(args),
        args.best_of,
        args.instruction,
        view_choices.drawn_of(args),
        args.views,
    )
    rows, document = measure(asked, repeat_choices.how_of(args))
    sys.stdout.write("\n".join(map(str, rows)) + "\n")
    write_json(args.json, document)
    return 0
