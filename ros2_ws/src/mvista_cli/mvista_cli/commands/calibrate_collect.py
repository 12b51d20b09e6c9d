"""`mvista calibrate collect`: a session from this ROS domain's topics, or from a recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", help="a name, or a folder; one that exists is continued")
    parser.add_argument("--shots", type=int, default=0, help="0: until coverage is enough")
    parser.add_argument(
        "--scene", action="store_true", help="record the scene's depth instead, the board gone"
    )
    parser.add_argument(
        "--recording", type=Path, help="from the images of an episode of `mvista record`, not live"
    )
    parser.add_argument("--config", type=Path, help="parameter file (config/calibration.yaml)")
    parser.add_argument("--cameras", nargs="+", help="namespaces; the first is the reference")
    parser.add_argument("--no-arm", action="store_true", help="no arm holds the board")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.operator.collecting import CollectRequest, collect

    cameras = tuple(args.cameras or ())
    found = collect(
        CollectRequest(args.session, args.shots, args.scene, args.recording, args.config, cameras,
               not args.no_arm)
    )  # fmt: skip
    coverage = found.coverage
    views = ", ".join(f"{name} {count}" for name, count in coverage.views.items())
    sys.stdout.write(f"{found.folder}: {coverage.shots} shots; views: {views}\n")
    for line in coverage.missing:
        sys.stdout.write(f"still missing: {line}\n")
    if not args.scene and args.recording is None:
        again = f"mvista calibrate collect {found.folder} --scene"
        sys.stdout.write(f"next, the board gone: {again}\n")
    return 0
