"""`mvista doctor [--for sim|robot|record]`: read-only; a line per check, and what mends it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup.paths import DEFAULT_CHECKPOINT
from mvista_cli.doctor import PURPOSES

EXIT_UNFIT = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `mvista doctor`."""
    parser.add_argument("--for", dest="purpose", choices=PURPOSES, default="sim")
    parser.add_argument("--rig", default="sim_cell", help="a file of config/rigs/, without .yaml")
    parser.add_argument(
        "--checkpoint", default=DEFAULT_CHECKPOINT, help="a folder of models/checkpoints/"
    )
    parser.add_argument("--arm", default="piper", help="a file of config/arms/, without .yaml")
    parser.add_argument(
        "--can-port", type=int, default=0, help="ask an emulated arm at this UDP port, not CAN"
    )
    parser.add_argument("--json", type=Path, default=None, help="write the checks to this file")


def run(args: argparse.Namespace) -> int:
    """Print each check as it is done; 0 unless one fails."""
    from mvista_bringup.finding import Severity
    from mvista_bringup.paths import output_dir, share_root
    from mvista_cli.doctor.examine import Subject, as_document, driver_settings, examine
    from mvista_cli.doctor.machine import Machine
    from mvista_core.errors import ConfigError
    from mvista_core.timing import SystemClock
    from mvista_eval.figures import write_json

    share, driver = share_root(), driver_settings(args.can_port)
    subject = Subject(
        args.purpose, share, args.rig, args.checkpoint, args.arm, output_dir(), driver
    )
    if not subject.arm_file.is_file():
        raise ConfigError(f"no arm file {subject.arm_file}; see config/arms/")
    checks = []
    for check in examine(subject, Machine(), SystemClock()):
        checks.append(check)
        sys.stdout.write(f"{check}\n")
        sys.stdout.flush()
    failed = [check.name for check in checks if check.level is Severity.FAIL]
    warned = sum(check.level is Severity.WARN for check in checks)
    verdict = f"{len(failed)} failed: {', '.join(failed)}" if failed else "nothing failed"
    sys.stdout.write(f"{len(checks)} checks for {args.purpose}, {warned} warnings, {verdict}\n")
    write_json(args.json, as_document(args.purpose, checks))
    return EXIT_UNFIT if failed else 0
