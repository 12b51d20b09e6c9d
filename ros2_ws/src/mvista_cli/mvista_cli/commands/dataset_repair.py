"""`mvista dataset repair`: new episodes of all that can be trusted in torn or altered ones.

The longest prefix whose checksums hold, indexed anew, in another folder; nothing old is touched.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of episodes")
    parser.add_argument("--out", type=Path, help="default: FOLDER-repaired, beside an episode's")
    parser.add_argument("--workers", type=int, default=2, help="processes")


def run(args: argparse.Namespace) -> int:
    from mvista_recorder.many import episodes_of, in_parallel, repaired

    folders = episodes_of(args.folder)
    root = args.folder.resolve()
    if folders == (args.folder,):
        root = root.parent
    out = args.out or root.with_name(f"{root.name}-repaired")
    failed = 0
    jobs = [(folder, out) for folder in folders]
    for done, (_, (good, line)) in enumerate(in_parallel(repaired, jobs, args.workers), start=1):
        print(f"{done}/{len(jobs)} {line}", file=sys.stdout if good else sys.stderr)
        failed += not good
    return 2 if failed else 0
