"""`mvista bench planner`: what a plan costs on this machine, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup.paths import checkpoint_dir
from mvista_world.choices import MethodChoices
from mvista_world.config import INITIALISATIONS, VIEW_MODES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plans", type=int, default=10, help="after the first, which is apart")
    parser.add_argument("--init", choices=INITIALISATIONS, default=INITIALISATIONS[0])
    parser.add_argument("--steps", type=int, help="of Eq. 11; default: as the start is used to")
    parser.add_argument("--mode", type=int, choices=VIEW_MODES, help="default: the checkpoint's")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--device", default="cpu", help="auto (a card if any), cpu or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="0: all cores but one")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint_dir())
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import finish
    from mvista_eval.planner_cost import PlannerLoad, measure

    load = PlannerLoad(
        args.checkpoint,
        args.plans,
        args.init,
        args.steps,
        args.precision,
        args.threads,
        MethodChoices(args.mode),
        args.device,
    )
    return finish(measure(load), args.json)
