"""`mvista dataset info`: what a data set holds, and how it looks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="holds manifest.json and shard-*.npz")
    parser.add_argument("--json", type=Path, help="write the same here")
    parser.add_argument("--sheet", type=Path, help="write a picture (.png) of the first episodes")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.dataset import describe
    from mvista_eval.dataset_cameras import write_sheet
    from mvista_eval.figures import write_json

    text, document = describe(args.folder)
    sys.stdout.write(text + "\n")
    write_json(args.json, document)
    if args.sheet is not None:
        write_sheet(args.folder, args.sheet)
    return 0
