"""`mvista plan`: one sample observation in, a trajectory out, without ROS and without a robot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_cli.choices import INITIALISATIONS
from mvista_sim.tasks import TEMPLATES

SOURCE_CAMERA = "cam1"
TARGET_CAMERAS = "cam2,cam0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instruction", help='e.g. "touch the red cube"; default: the scene\'s')
    parser.add_argument("--task", choices=sorted(TEMPLATES), help="default: of --instruction")
    parser.add_argument("--seed", type=int, default=10_000, help="scene and imagination")
    parser.add_argument("--source", default=SOURCE_CAMERA, help="the camera that is observed")
    parser.add_argument("--targets", default=TARGET_CAMERAS, help="comma-separated imagined views")
    parser.add_argument("--init", choices=INITIALISATIONS, default="head")
    parser.add_argument("--steps", type=int, help="of Eq. 11; default: 15 (head), 100 (random)")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument("--json", type=Path, help="write the plan here")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.demo.plan import PlanRequest, as_text, planned
    from mvista_eval.figures import write_json

    targets = tuple(name for name in args.targets.split(",") if name)
    document = planned(
        PlanRequest(
            args.task, args.instruction, args.seed, args.source, targets, args.init, args.steps
        ),
        args.checkpoint,
    )
    sys.stdout.write(as_text(document) + "\n")
    write_json(args.json, document)
    return 0
