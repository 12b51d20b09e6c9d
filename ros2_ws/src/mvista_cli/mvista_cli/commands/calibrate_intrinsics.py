"""`mvista calibrate intrinsics`: lenses from a session's views, beside what session.yaml says."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, help="folder with session.yaml, its lenses rough")
    parser.add_argument("--camera", action="append", default=[], help="this one only; may repeat")
    parser.add_argument("--plain", action="store_true", help="5 distortion coefficients, not 8")
    parser.add_argument("--json", type=Path)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    import yaml

    from mvista_calibration.recorded import lenses
    from mvista_cli.operator.progress import percent
    from mvista_core.errors import ConfigError
    from mvista_core.files import replace_file
    from mvista_core.rig import lens_document

    found = lenses(args.session, args.camera, not args.plain, percent)
    for camera, result in found.items():
        lens = result.intrinsics
        values = (lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px)
        numbers = ", ".join(
            f"{name} {value:.2f} +- {sigma:.2f}"
            for name, value, sigma in zip(
                ("fx", "fy", "cx", "cy"), values, result.sigma_px, strict=True
            )
        )
        sys.stdout.write(
            f"{camera}: {numbers} px from {len(result.shots)} views\n"
            f"  {result.rms_px:.3f} px RMS, {result.held_out_rms_px:.3f} px on views held out "
            f"({result.held_out_ratio:.2f} times)\n"
        )
        left_out = [f"left out shot {shot}: {why}" for shot, why in result.rejected]
        for line in (*left_out, *(f"warning: {warning}" for warning in result.warnings)):
            sys.stdout.write(f"  {line}\n")
        entry = yaml.safe_dump(lens_document(lens), default_flow_style=True, width=10_000)
        sys.stdout.write(f"  for session.yaml: intrinsics: {entry}")
    if args.json is not None:
        document = {camera: asdict(result) for camera, result in found.items()}
        replace_file(args.json, json.dumps(document, indent=1) + "\n", ConfigError)
    return 0
