"""What `mvista bench calibration` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

PARTS = ("extrinsics", "base", "gate", "rendered", "time")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=("all", *PARTS), default="all")
    parser.add_argument("--sessions", type=int, help="of each part, instead of the usual number")
    parser.add_argument("--first-seed", type=int, help="of each part, instead of the usual one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="forget sessions already done")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--results", type=Path, help="write the tables (Markdown) here")
