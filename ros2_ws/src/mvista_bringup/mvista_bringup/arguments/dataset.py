"""What `mvista dataset collect|info` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_sim.tasks import TEMPLATES

FIRST_SEED = 1_000_000
"""Of training episodes, as `mvista_sim.dataset` has it: far from the held-out seeds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="collect|info")
    collecting = verbs.add_parser("collect", help="let the scripted expert act, and film it")
    collecting.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    collecting.add_argument("--episodes", type=int, default=800)
    collecting.add_argument("--out", type=Path, help="default: build/data/<short name of the task>")
    collecting.add_argument(
        "--grounding",
        action="store_true",
        help="first frames only, with the expert's actions for every instruction of the scene",
    )
    collecting.add_argument("--first-seed", type=int, default=FIRST_SEED)
    collecting.add_argument("--workers", type=int, default=2, help="processes")
    telling = verbs.add_parser("info", help="counts, shapes and sizes of a data set")
    telling.add_argument("folder", type=Path, help="holds manifest.json and shard-*.npz")
    telling.add_argument("--json", type=Path, help="write the same here")
