"""`mvista plan`: one sample observation in, a trajectory out, without ROS and without a robot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import view_choices
from mvista_sim.tasks import TEMPLATES
from mvista_world.config import INITIALISATIONS, OptimisationConfig

STEPS = {start: OptimisationConfig().steps_from(start) for start in INITIALISATIONS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instruction", help='e.g. "touch the red cube"; default: the scene\'s')
    parser.add_argument("--task", choices=sorted(TEMPLATES), help="default: of --instruction")
    parser.add_argument("--seed", type=int, default=10_000, help="scene and imagination")
    parser.add_argument(
        "--source", default="", help="the camera that is observed; empty: the checkpoint's"
    )
    parser.add_argument(
        "--targets", default="", help="comma-separated imagined views; empty: the checkpoint's"
    )
    parser.add_argument("--init", choices=INITIALISATIONS, default=INITIALISATIONS[0])
    usual = ", ".join(f"{steps} ({start})" for start, steps in STEPS.items())
    parser.add_argument("--steps", type=int, help=f"of Eq. 11; default: {usual}")
    parser.add_argument(
        "--camera", action="append", default=[], metavar="AZIMUTH,PITCH,DISTANCE",
        help="imagine the view from here too (degrees, degrees, m round the rig's look-at point), "
        "through the source's lens; more than once for more",
    )  # fmt: skip
    view_choices.add_options(parser)
    view_choices.add_literal(parser)
    view_choices.add_action_head(parser)
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument("--json", type=Path, help="write the plan here")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.demo.plan import PlanRequest, as_text, planned
    from mvista_eval.figures import write_json

    targets = tuple(name for name in args.targets.split(",") if name)
    document = planned(
        PlanRequest(
            args.task,
            args.instruction,
            args.seed,
            args.source,
            targets,
            args.init,
            args.steps,
            view_choices.method_of(args),
            view_choices.options_of(args),
            tuple(args.camera),
        ),
        args.checkpoint,
    )
    sys.stdout.write(as_text(document) + "\n")
    write_json(args.json, document)
    return 0
