"""`mvista train <network>`: one row of the world model's table of recipes.

Every run is seeded and resumes where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup import paths
from mvista_cli import training_choices
from mvista_core.arm import load_arm
from mvista_core.rig import load_rig
from mvista_world.config import LEFT_OUT
from mvista_world.presets import preset
from mvista_world.training.recipes import RECIPES
from mvista_world.training.recipes import run as run_recipe
from mvista_world.training.request import TrainingRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = "; ".join(f"{recipe.network}: {recipe.text}" for recipe in RECIPES)
    parser.add_argument("network", choices=[recipe.network for recipe in RECIPES], help=rows)
    parser.add_argument("--data", type=Path, default=Path("build/data"), help="data sets, or one")
    parser.add_argument("--out", type=Path, default=Path("build/train"), help="working folder")
    parser.add_argument("--preset", default=paths.DEFAULT_CHECKPOINT)
    parser.add_argument("--steps", type=int, help="length of the run (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=TrainingRequest.seed)
    parser.add_argument("--threads", type=int, default=TrainingRequest.threads)
    parser.add_argument("--rig", type=Path, default=paths.config_file("rigs", "sim_cell.yaml"))
    parser.add_argument("--arm", type=Path, default=paths.config_file("arms", "piper.yaml"))
    where = "where pack writes and priors reads (default: models/checkpoints/PRESET)"
    parser.add_argument("--checkpoint", type=Path, help=where)
    training_choices.add_options(parser)
    parser.add_argument("--restart", action="store_true", help="ignore an unfinished run")


def run(args: argparse.Namespace) -> int:
    without = [name for name in args.without.split(",") if name]
    asked = TrainingRequest(
        preset(args.preset, [name for name in without if name in LEFT_OUT]),
        args.data,
        args.out,
        args.checkpoint or Path("models/checkpoints") / args.preset,
        load_rig(args.rig),
        load_arm(args.arm),
        args.seed,
        args.steps,
        not args.restart,
        args.threads,
        args.start,
        args.recipe,
        tuple(name for name in without if name not in LEFT_OUT),
        args.device,
        training_choices.profile_of(args),
        args.lora,
        args.adapter,
        tuple(name for name in args.renew.split(",") if name),
        args.batch,
    )
    run_recipe(args.network, asked)
    return 0
