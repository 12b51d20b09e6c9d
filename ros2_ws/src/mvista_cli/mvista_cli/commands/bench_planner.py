"""`mvista bench planner`: what a plan costs on this machine, stage by stage.

`--random-weights`: the parts of a plan of a large model, without its weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup.paths import checkpoint_dir
from mvista_world.choices import MethodChoices
from mvista_world.config import INITIALISATIONS
from mvista_world.config_limits import VIEW_MODES
from mvista_world.presets import PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plans", type=int, default=10, help="after the first, which is apart")
    parser.add_argument("--init", choices=INITIALISATIONS, default=INITIALISATIONS[0])
    parser.add_argument("--steps", type=int, help="of Eq. 11; default: as the start is used to")
    parser.add_argument("--mode", type=int, choices=VIEW_MODES, help="default: the checkpoint's")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--device", default="cpu", help="auto (a card if any), cpu or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="0: all cores but one")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint_dir())
    stand_in = parser.add_argument_group("a large model on random weights, in parts")
    stand_in.add_argument("--random-weights", action="store_true", help="instead of --checkpoint")
    stand_in.add_argument("--preset", choices=sorted(PRESETS), default="wan22_ti2v_5b")
    stand_in.add_argument("--depth", type=int, default=0, help="layers; 0: the preset's")
    stand_in.add_argument("--views", type=int, default=3)
    stand_in.add_argument("--frames", type=int, default=0, help="4k+1; 0: the preset's")
    stand_in.add_argument(
        "--checkpointing", action="store_true", help="compute blocks again in the backward pass"
    )
    stand_in.add_argument("--compiled", action="store_true", help="blocks by torch.compile")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import finish
    from mvista_eval.planner_cost import PlannerLoad, measure

    if args.random_weights:
        from mvista_eval.backbone_load import BackboneLoad, measure_backbone

        wanted = BackboneLoad(
            args.preset, args.depth, args.views, args.frames, args.plans, args.precision,
            args.device, args.threads, args.checkpointing, args.compiled,
        )  # fmt: skip
        return finish(measure_backbone(wanted), args.json)
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
