"""`mvista dataset collect`: expert episodes from the cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli.choices import FIRST_SEED
from mvista_sim.tasks import TEMPLATES

SHORT_NAMES = {"touch_cube": "touch", "open_drawer": "drawer", "put_orange": "orange"}
GROUNDING_NAME = "grounding"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=800)
    parser.add_argument("--out", type=Path, help="default: build/data/<short name of the task>")
    grounding = "first frames only, with the expert's actions for every instruction of the scene"
    parser.add_argument("--grounding", action="store_true", help=grounding)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    preset = "of the model: its window and frame times"
    parser.add_argument("--preset", default=paths.DEFAULT_CHECKPOINT, help=preset)
    parser.add_argument(
        "--drawn-cameras",
        type=int,
        default=0,
        metavar="N",
        help="N cameras drawn for every episode, with sensors of their own (default: sim_cell's)",
    )
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="draw places that training never sees, for evaluation",
    )
    parser.add_argument(
        "--vantage",
        action="store_true",
        help="one camera more, where the preset's model has the first one's pictures brought to",
    )


def run(args: argparse.Namespace) -> int:
    from mvista_eval.dataset import describe
    from mvista_sim.dataset import Collection, collect
    from mvista_world.presets import preset, vantage_of

    name = GROUNDING_NAME if args.grounding else SHORT_NAMES[args.task]
    job = Collection(
        args.task,
        args.episodes,
        args.out or paths.output_dir("data") / name,
        paths.config_file("rigs", "sim_cell.yaml"),
        paths.config_file("arms", "piper.yaml"),
        args.grounding,
        args.first_seed,
        args.workers,
        preset(args.preset).episode,
        args.drawn_cameras,
        args.held_out,
        vantage_of(args.preset) if args.vantage else None,
    )
    collect(job)
    sys.stdout.write(describe(job.out)[0] + "\n")
    return 0
