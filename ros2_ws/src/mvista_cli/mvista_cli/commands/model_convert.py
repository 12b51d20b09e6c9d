"""`mvista model convert`: a checkpoint of one file per network as transformer/, vae/ and so on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="as `mvista train pack` writes it")
    parser.add_argument("out", type=Path, help="is made")


def run(args: argparse.Namespace) -> int:
    from mvista_world.assemble import convert

    sys.stdout.write(f"{args.out}: {convert(args.checkpoint, args.out)}\n")
    return 0
