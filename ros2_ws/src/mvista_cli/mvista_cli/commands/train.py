"""`mvista train codec|trajectory|generator|priors|refine|pack`: one command per network.

Every run is seeded and resumes where it stopped. `pack` assembles the checkpoint folder; `priors`
lets a packed one plan on training scenes, for `refine` to learn from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup import paths

NETWORKS = ("codec", "trajectory", "generator", "priors", "refine", "pack")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--data", type=Path, default=Path("build/data"), help="collected episodes")
    parser.add_argument("--out", type=Path, default=Path("build/train"), help="working folder")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, help="length of the run (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
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
        help="codec and generator: a checkpoint folder to go on from instead of random weights",
    )
    parser.add_argument("--restart", action="store_true", help="ignore an unfinished run")


def run(args: argparse.Namespace) -> int:
    from mvista_core.arm import load_arm
    from mvista_core.rig import load_rig
    from mvista_world.config import preset
    from mvista_world.training import recipes

    recipe = recipes.Recipe(
        preset(args.preset),
        args.data,
        args.out,
        load_rig(args.rig),
        load_arm(args.arm),
        args.seed,
        args.steps,
        not args.restart,
        args.threads,
        args.start,
    )
    recipes.run(args.network, recipe, args.checkpoint)
    return 0
