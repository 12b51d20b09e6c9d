"""`mvista model make-random`: a model folder of any size, seeded; or the start of training."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from mvista_bringup import paths
from mvista_sim.tasks import TEMPLATES
from mvista_world.presets import PRESETS

SIZES = {
    "depth": (30, "layers"),
    "heads": (24, "of 128 channels"),
    "vae_width": (160, "channels of the autoencoder's first level"),
    "text_width": (4096, "of text features"),
    "text_layers": (1, "of the text encoder; umT5-xxl has 24"),
    "frames": (33, "4k+1"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    wan = [name for name in PRESETS if name.startswith("wan")]
    parser.add_argument("folder", type=Path, help="is made")
    parser.add_argument("--preset", choices=wan, default=wan[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument(
        "--backbone", type=Path, help="Wan2.2-TI2V-5B as published, instead of random weights"
    )
    for name, (usual, text) in SIZES.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=usual, help=f"{text} (default {usual})")


def run(args: argparse.Namespace) -> int:
    from mvista_core.arm import load_arm
    from mvista_world.assemble import Sizes, make_random
    from mvista_world.presets import preset

    sizes = Sizes(**{field.name: getattr(args, field.name) for field in fields(Sizes)})
    home = load_arm(paths.config_file("arms", "piper.yaml")).home.tolist()
    sha256 = make_random(
        args.folder,
        sizes.applied_to(preset(args.preset)),
        tuple(TEMPLATES.values()),
        args.seed,
        args.precision,
        args.backbone,
        home,
    )
    sys.stdout.write(
        f"{args.folder}: {sha256}\n"
        f"its words are not encoded yet: mvista text encode {args.folder}\n"
    )
    return 0
