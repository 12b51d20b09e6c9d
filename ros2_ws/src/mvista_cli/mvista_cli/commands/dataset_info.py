"""`mvista dataset info`: what a data set holds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="holds manifest.json and shard-*.npz")
    parser.add_argument("--json", type=Path, help="write the same here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.dataset import describe
    from mvista_eval.figures import write_json

    text, document = describe(args.folder)
    sys.stdout.write(text + "\n")
    write_json(args.json, document)
    return 0
