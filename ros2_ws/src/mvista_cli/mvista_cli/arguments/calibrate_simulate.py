"""What `mvista calibrate simulate` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

GRIPPER, TABLE = "gripper", "table"
"""Who may hold the board."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where the session is written; must be new")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", type=int, default=15)
    parser.add_argument("--board-at", choices=(GRIPPER, TABLE), default=GRIPPER)
    parser.add_argument("--width", type=int, default=3840, help="of the colour images, px")
