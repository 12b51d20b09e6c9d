"""`mvista bench watch`: what the page of `mvista watch` takes, unseen and with one browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PAGE = (sys.executable, "-m", "mvista_cli.cli", "watch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="measured each time")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import finish
    from mvista_eval.page import measure

    return finish(measure(args.seconds, PAGE), args.json)
