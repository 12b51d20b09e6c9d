"""How `mvista train` may be told to go about it: by which recipe, without what, and, for models of
Wan's size, on which cards and of which weights."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from mvista_bringup import paths
from mvista_world.config import LEFT_OUT, RENEWABLE
from mvista_world.presets import preset
from mvista_world.training.curriculum import TRAINING, Extras
from mvista_world.training.request import TrainingRequest
from mvista_world.training.tuning import PROFILES


def add_options(parser: argparse.ArgumentParser) -> None:
    """All that is not a folder, a length or a seed."""
    start = "generator: a checkpoint to go on from; codec, trajectory: its own, as they are; "
    start += "codec is trained on with --steps; distill: whose solver is distilled"
    parser.add_argument("--start", type=Path, help=start)
    recipe = "generator, refine: as the shipped model was trained, or by the paper's letter; "
    recipe += "held_out: as generator was (default: as shipped weights of this preset were)"
    parser.add_argument("--recipe", choices=sorted(TRAINING), help=recipe)
    extras = ", ".join(field.name for field in fields(Extras))
    without = f"comma-separated; generator, held_out: {extras}; these, reader and pack: "
    without += f"{', '.join(LEFT_OUT)}; trajectory: tcn_vae"
    parser.add_argument("--without", default="", help=without)
    renew = f"comma-separated; generator with --start: begin anew: {', '.join(RENEWABLE)}"
    parser.add_argument("--renew", default="", help=renew)
    batch = "generator: samples of a step of several views (default: the recipe's)"
    parser.add_argument("--batch", type=int, help=batch)
    where = "generator, held_out, distill: auto, cpu, cuda"
    parser.add_argument("--device", default=TrainingRequest.device, help=where)
    wan = "generator of a preset of Wan's size"
    shipped = ", ".join(PROFILES)
    parser.add_argument("--profile", help=f"{wan}: {shipped}, or a file like theirs")
    parser.add_argument(
        "--lora", type=int, metavar="RANK", help=f"{wan}: adapters, not all weights"
    )
    parser.add_argument("--adapter", type=Path, help=f"{wan}: an earlier OUT/lora to go on from")


def profile_of(args: argparse.Namespace) -> Path | None:
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
