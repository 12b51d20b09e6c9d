"""`mvista model verify`: is a model folder whole, of one piece, and what a planner can load."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a checkpoint, or Wan2.2-TI2V-5B as published")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.model_page import as_text
    from mvista_world.model_facts import verify

    facts = verify(args.folder)
    sys.stdout.write(f"{as_text(facts)}\nwhole: every sum, key, shape and statistic fits\n")
    return 0
