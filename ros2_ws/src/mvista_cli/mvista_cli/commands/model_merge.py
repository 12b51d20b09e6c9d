"""`mvista model merge`: a LoRA and the folder it was trained on as one folder that plans."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", type=Path, help="the folder that it was trained from (--start)")
    parser.add_argument("lora", type=Path, help="OUT/lora of `mvista train generator --lora`")
    parser.add_argument("out", type=Path, help="is made")


def run(args: argparse.Namespace) -> int:
    from mvista_world.assemble import merge

    sys.stdout.write(f"{args.out}: {merge(args.base, args.lora, args.out)}\n")
    return 0
