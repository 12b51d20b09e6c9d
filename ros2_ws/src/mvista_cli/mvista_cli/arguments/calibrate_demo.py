"""What `mvista calibrate demo` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_cli.commands.calibrate import METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="places, lenses, depth sensors")
    parser.add_argument("--width", type=int, default=1920, help="of the colour images: 3840 to 640")
    parser.add_argument("--depth-frames", type=int, default=10, help="averaged per shot")
    parser.add_argument("--method", choices=METHODS, default="ours")
    parser.add_argument("--out", type=Path, help="default: build/calibration/demo_<seed>")
