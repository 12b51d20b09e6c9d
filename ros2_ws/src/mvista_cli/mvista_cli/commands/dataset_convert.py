"""`mvista dataset convert`: episodes as what others read. It goes on where it was interrupted.

training: shards and a manifest for `mvista train`, windows of the model's length.
bag: bags of registered, uncompressed depth, which RViz and Foxglove show.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of episodes")
    parser.add_argument("--to", choices=("training", "bag"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--labels", nargs="+", default=["success"], help="training: which to take")
    parser.add_argument("--practice", action="store_true", help="training: take practice as well")
    parser.add_argument("--stride", type=float, default=1.6, help="training: s between windows")
    parser.add_argument("--workers", type=int, default=2, help="processes")


def run(args: argparse.Namespace) -> int:
    return _to_bags(args) if args.to == "bag" else _to_training(args)


def _to_training(args: argparse.Namespace) -> int:
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


def _to_bags(args: argparse.Namespace) -> int:
    from mvista_recorder.bag_export import convert_to_bag
    from mvista_recorder.many import episodes_of, in_parallel

    jobs = [(folder, args.out) for folder in episodes_of(args.folder)]
    failed = 0
    for done, (_, (good, line)) in enumerate(
        in_parallel(convert_to_bag, jobs, args.workers), start=1
    ):
        print(f"{done}/{len(jobs)} {line}", file=sys.stdout if good else sys.stderr)
        failed += not good
    return 2 if failed else 0
