"""`mvista train <network>`: one row of the world model's table of recipes.

Every run is seeded and resumes where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from mvista_bringup import paths
from mvista_core.arm import load_arm
from mvista_core.rig import load_rig
from mvista_world.config import FUSION, preset
from mvista_world.training.curriculum import TRAINING, Extras
from mvista_world.training.recipes import RECIPES
from mvista_world.training.recipes import run as run_recipe
from mvista_world.training.request import TrainingRequest
from mvista_world.training.tuning import PROFILES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = "; ".join(f"{recipe.network}: {recipe.text}" for recipe in RECIPES)
    parser.add_argument("network", choices=[recipe.network for recipe in RECIPES], help=rows)
    parser.add_argument("--data", type=Path, default=Path("build/data"), help="data sets, or one")
    parser.add_argument("--out", type=Path, default=Path("build/train"), help="working folder")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, help="length of the run (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=TrainingRequest.seed)
    parser.add_argument("--threads", type=int, default=TrainingRequest.threads)
    parser.add_argument("--rig", type=Path, default=paths.config_file("rigs", "sim_cell.yaml"))
    parser.add_argument("--arm", type=Path, default=paths.config_file("arms", "piper.yaml"))
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("models/checkpoints/tiny"),
        help="where pack writes and priors reads",
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="generator: a checkpoint to go on from; codec: its own, trained on with --steps",
    )
    recipe = "generator, refine: as the shipped model was trained, or by the paper's letter"
    parser.add_argument("--recipe", choices=sorted(TRAINING), default="tiny", help=recipe)
    extras = ", ".join(field.name for field in fields(Extras))
    without = f"comma-separated; generator: {extras}; generator and pack: {', '.join(FUSION)}"
    parser.add_argument("--without", default="", help=without)
    parser.add_argument(
        "--device", default=TrainingRequest.device, help="generator: auto, cpu, cuda"
    )
    wan = "generator of a preset of Wan's size"
    shipped = ", ".join(PROFILES)
    parser.add_argument("--profile", help=f"{wan}: {shipped}, or a file like theirs")
    parser.add_argument(
        "--lora", type=int, metavar="RANK", help=f"{wan}: adapters, not all weights"
    )
    parser.add_argument("--adapter", type=Path, help=f"{wan}: an earlier OUT/lora to go on from")
    parser.add_argument("--restart", action="store_true", help="ignore an unfinished run")


def _profile(args: argparse.Namespace) -> Path | None:
    """The file asked for; for a preset of Wan's size that names none, what --lora makes likely."""
    if args.profile is None:
        if preset(args.preset).codec.kind != "wan":
            return None
        name = PROFILES[0] if args.lora else PROFILES[-1]
    elif args.profile not in PROFILES:
        return Path(args.profile)
    else:
        name = args.profile
    return paths.config_file("training", f"{name}.yaml")


def run(args: argparse.Namespace) -> int:
    without = [name for name in args.without.split(",") if name]
    asked = TrainingRequest(
        preset(args.preset, [name for name in without if name in FUSION]),
        args.data,
        args.out,
        args.checkpoint,
        load_rig(args.rig),
        load_arm(args.arm),
        args.seed,
        args.steps,
        not args.restart,
        args.threads,
        args.start,
        args.recipe,
        tuple(name for name in without if name not in FUSION),
        args.device,
        _profile(args),
        args.lora,
        args.adapter,
    )
    run_recipe(args.network, asked)
    return 0
