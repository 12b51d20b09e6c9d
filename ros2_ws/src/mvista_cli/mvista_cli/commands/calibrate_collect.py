"""What `mvista calibrate collect` takes."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", help="a name, or a folder; one that exists is continued")
    parser.add_argument("--shots", type=int, default=0, help="0: until coverage is enough")
    parser.add_argument(
        "--scene", action="store_true", help="record the scene's depth instead, the board gone"
    )
    parser.add_argument(
        "--recording", type=Path, help="from a recording of cameras (recording.yaml), not live"
    )
    parser.add_argument("--config", type=Path, help="parameter file (config/calibration.yaml)")
    parser.add_argument("--cameras", nargs="+", help="namespaces; the first is the reference")
    parser.add_argument("--no-arm", action="store_true", help="no arm holds the board")
