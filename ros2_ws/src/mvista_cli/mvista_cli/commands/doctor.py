"""`mvista doctor [--for sim|robot]`: read-only, one line per check, and the line that mends it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mvista_bringup.check import Check, Level
from mvista_bringup.graph.arm import EMULATED_CAN_GROUP
from mvista_bringup.paths import output_dir, share_root
from mvista_cli.doctor.examine import PURPOSES, Subject, examine
from mvista_cli.doctor.machine import Machine
from mvista_core.errors import ConfigError
from mvista_core.timing import SystemClock
from mvista_piper.settings import PiperSettings

EXIT_UNFIT = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `mvista doctor`."""
    parser.add_argument("--for", dest="purpose", choices=PURPOSES, default="sim")
    parser.add_argument("--rig", default="sim_cell", help="a file of config/rigs/, without .yaml")
    parser.add_argument("--checkpoint", default="tiny", help="a folder of models/checkpoints/")
    parser.add_argument("--arm", default="piper", help="a file of config/arms/, without .yaml")
    parser.add_argument(
        "--can-port", type=int, default=0, help="ask an emulated arm at this UDP port, not CAN"
    )
    parser.add_argument("--json", type=Path, default=None, help="write the checks to this file")


def run(args: argparse.Namespace) -> int:
    """Print each check as it is done; 0 unless one fails."""
    share = share_root()
    subject = Subject(
        args.purpose,
        share,
        args.rig,
        args.checkpoint,
        args.arm,
        output_dir(),
        _driver(args.can_port),
    )
    if not subject.arm_file.is_file():
        raise ConfigError(f"no arm file {subject.arm_file}; see config/arms/")
    checks = []
    for check in examine(subject, Machine(), SystemClock()):
        checks.append(check)
        sys.stdout.write(f"{check}\n")
        sys.stdout.flush()
    failed = [check.name for check in checks if check.level is Level.FAIL]
    warned = sum(check.level is Level.WARN for check in checks)
    verdict = f"{len(failed)} failed: {', '.join(failed)}" if failed else "nothing failed"
    sys.stdout.write(f"{len(checks)} checks for {args.purpose}, {warned} warnings, {verdict}\n")
    if args.json is not None:
        _write(args.json, args.purpose, checks)
    return EXIT_UNFIT if failed else 0


def _driver(can_port: int) -> PiperSettings:
    if not can_port:
        return PiperSettings()
    return PiperSettings(interface="udp_multicast", channel=EMULATED_CAN_GROUP, udp_port=can_port)


def _write(path: Path, purpose: str, checks: Sequence[Check]) -> None:
    rows = [{**asdict(check), "level": check.level.value} for check in checks]
    document = {"purpose": purpose, "checks": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
