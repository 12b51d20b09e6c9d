"""`mvista eval generation`: imagined views against filmed ones on held-out scenes (Sec. 5.1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_bringup import paths
from mvista_sim.tasks import TEMPLATES

WITHOUT_FVD = (
    "FVD, which the paper also gives, is not measured: it needs the weights of an I3D trained on "
    "Kinetics-400, which are not here, and another network's numbers would compare with nobody's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = WITHOUT_FVD
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=16, help="scenes")
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument(
        "--told",
        action="store_true",
        help="tell the filmed motion too, instead of the words alone: its errors are of pictures, "
        "not of another motion that the words allow",
    )
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument("--fresh", action="store_true", help="forget scenes already done")
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import write_json
    from mvista_eval.generation import lines_of, measure

    rows, document = measure(
        args.checkpoint, args.task, args.episodes, args.seed, args.told, args.fresh
    )
    sys.stdout.write("\n".join(lines_of(rows)) + "\n")
    write_json(args.json, document)
    return 0
