"""What `mvista eval success` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup import paths
from mvista_sim.tasks import TEMPLATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument(
        "--rows", default="all", help="names of rows separated by ';', or 'all', or 'full'"
    )
    parser.add_argument(
        "--pairs", action="store_true", help="touch_cube: each scene asked for two colours"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the table here")
