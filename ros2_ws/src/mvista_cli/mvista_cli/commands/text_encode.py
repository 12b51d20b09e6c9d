"""`mvista text encode`: umT5's features of a model's sentences, so that a planner needs no umT5."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a model folder with text_encoder/ in it")
    parser.add_argument(
        "--instruction", action="append", default=[], help="beside those of its templates"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:0")


def run(args: argparse.Namespace) -> int:
    from mvista_world.text_cache import encode_folder

    known, made = encode_folder(args.folder, args.instruction, args.device)
    sys.stdout.write(
        f"{args.folder}/text_cache: {known} sentences, {made} of them encoded now; "
        "text_encoder/ is needed for new ones only\n"
    )
    return 0
