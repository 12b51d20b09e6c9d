"""`mvista eval beside`: what differs between two answers of `mvista eval generation`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

IMAGINED = "imagined"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("document", type=Path, help="of mvista eval generation --json")
    parser.add_argument("other", type=Path, help="another, or the same with --than")
    parser.add_argument("--answer", default=IMAGINED, help="of the first (default: imagined)")
    parser.add_argument("--than", default=IMAGINED, help="of the other (default: imagined)")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.generation.beside import differences, in_words, load

    found = differences(load(args.document), load(args.other), args.answer, args.than)
    sys.stdout.write(in_words(found) + "\n")
    return 0
