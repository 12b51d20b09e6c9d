"""`mvista eval experts`: how often the scripted experts succeed, on held-out seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_cli import repeat_choices
from mvista_sim.tasks import TEMPLATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), help="default: every task")
    parser.add_argument("--episodes", type=int, default=200, help="scenes per task")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    repeat_choices.add(parser)
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.experts import measure
    from mvista_eval.figures import write_json

    tasks = [args.task] if args.task else list(TEMPLATES)
    rates, document = measure(tasks, args.episodes, args.seed, repeat_choices.how_of(args))
    sys.stdout.write("".join(f"{rate}\n" for rate in rates))
    write_json(args.json, document)
    return 0
