"""`mvista dataset convert`: episodes as what others read. It goes on where it was interrupted.

training: shards and a manifest for `mvista train`, windows of the model's length.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

KINDS = ("training",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of episodes")
    parser.add_argument("--to", choices=KINDS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--labels", nargs="+", default=["success"], help="of the episodes taken")
    parser.add_argument("--practice", action="store_true", help="take those of practice as well")
    parser.add_argument("--stride", type=float, default=1.6, help="s between windows' beginnings")
    parser.add_argument("--workers", type=int, default=2, help="processes")


def run(args: argparse.Namespace) -> int:
    from mvista_recorder.many import episodes_of
    from mvista_recorder.training_shards import TrainingJob, chosen_episodes, convert_to_training

    folders = chosen_episodes(episodes_of(args.folder), args.labels, args.practice)
    job = TrainingJob(folders, args.out, args.stride)
    kept = dropped = 0
    for done, report in enumerate(convert_to_training(job, args.workers), start=1):
        kept, dropped = kept + report.kept, dropped + report.dropped
        out = sys.stdout if report.kept else sys.stderr
        print(f"{done}/{len(folders)} {report.episode}: {report.words}", file=out)
    print(f"{args.out}: {kept} windows, {dropped} left out, of {len(folders)} episodes")
    return 0 if kept else 2
