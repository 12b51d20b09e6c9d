"""`mvista dataset validate`: is an episode, or every episode of a folder, what was recorded?

A line for each thing that is wrong; exit code 2 when there is one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of episodes")
    parser.add_argument("--workers", type=int, default=2, help="processes")


def run(args: argparse.Namespace) -> int:
    from mvista_recorder.many import episodes_of, in_parallel
    from mvista_recorder.repair import faults

    wrong = 0
    folders = episodes_of(args.folder)
    for done, (folder, found) in enumerate(in_parallel(faults, folders, args.workers), start=1):
        print(f"{done}/{len(folders)} {folder.name}: {'whole' if not found else 'NOT whole'}")
        for line in found:
            print(f"  {line}", file=sys.stderr)
        wrong += bool(found)
    print(f"{len(folders) - wrong} of {len(folders)} episodes are whole")
    return 2 if wrong else 0
