"""`mvista calibrate verify`: a rig's proof."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path)
    parser.add_argument("--rig", type=Path, required=True, help="rig file")
    parser.add_argument("--json", type=Path)


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from mvista_calibration.recorded import verify
    from mvista_cli.operator.progress import percent
    from mvista_core.errors import ConfigError
    from mvista_core.files import replace_file

    found = verify(args.session, args.rig, percent)
    for camera in found.cameras:
        sys.stdout.write(
            f"{camera.name}: moved by {camera.moved_m * 1e3:.1f} mm at the workspace, "
            f"{np.rad2deg(camera.turned_rad):.2f} deg ({camera.sigmas:.1f} sigma)\n"
        )
    sys.stdout.write(found.words + "\n")
    if args.json is not None:
        replace_file(args.json, json.dumps(asdict(found), indent=1) + "\n", ConfigError)
    return 0 if found.holds else FAILED
