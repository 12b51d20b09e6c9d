"""What `mvista eval latent` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup import paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--episodes", type=int, default=16, help="touch_cube scenes")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument("--json", type=Path, help="write the table here")
