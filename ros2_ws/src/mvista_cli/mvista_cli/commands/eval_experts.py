"""What `mvista eval experts` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_sim.tasks import TEMPLATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), help="default: every task")
    parser.add_argument("--episodes", type=int, default=200, help="scenes per task")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--json", type=Path, help="write the table here")
