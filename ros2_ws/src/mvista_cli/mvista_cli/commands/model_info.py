"""`mvista model info`: what a model folder is and holds; no tensor of it is read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a checkpoint, or Wan2.2-TI2V-5B as published")
    parser.add_argument("--json", type=Path, help="write the same here")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.model_page import as_document, as_text
    from mvista_eval.figures import write_json
    from mvista_world.model_facts import read_facts

    facts = read_facts(args.folder)
    sys.stdout.write(as_text(facts) + "\n")
    write_json(args.json, as_document(facts))
    return 0
