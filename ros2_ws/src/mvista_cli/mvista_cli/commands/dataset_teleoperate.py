"""`mvista dataset teleoperate`: episodes of a simulated hand that leads the simulated arm.

Every scene has a hand of its own: style, tempo, pauses, tremor, every third a mistake. What fails
is kept and labelled so. It goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvista_cli.choices import FIRST_SEED
from mvista_sim.tasks import TEMPLATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--out", type=Path, help="default: build/episodes/<task>")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--rig", default="sim_cell", help="a file of config/rigs, without .yaml")
    parser.add_argument("--workers", type=int, default=2, help="processes")


def run(args: argparse.Namespace) -> int:
    from mvista_bringup import paths
    from mvista_cli.operator.demonstrations import DemonstrationJob, demonstrate

    job = DemonstrationJob(
        args.task,
        args.episodes,
        args.out or paths.output_dir("episodes") / args.task,
        paths.config_file("rigs", f"{args.rig}.yaml"),
        paths.config_file("arms", "piper.yaml"),
        args.first_seed,
    )
    recorded = 0
    for done, found in enumerate(demonstrate(job, args.workers), start=1):
        recorded += bool(found.label)
        file = sys.stdout if found.label else sys.stderr
        print(f"{done}/{job.episodes} {found.words}", file=file, flush=True)
    print(f"{job.out}: {recorded} of {job.episodes} scenes recorded")
    return 0 if recorded else 2
