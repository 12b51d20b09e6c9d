"""`mvista dataset convert`: episodes as what others read. It goes on where it was interrupted.

training: shards and a manifest for `mvista train`, windows of the model's length.
lerobot: a LeRobot v3.0 data set, depth exact to the millimetre, capture times beside its own.
bag: bags of registered, uncompressed depth, which RViz and Foxglove show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mvista_recorder.many import Converted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of episodes")
    parser.add_argument("--to", choices=("training", "lerobot", "bag"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is made")
    parser.add_argument(
        "--labels",
        nargs="+",
        default=["success"],
        choices=("success", "failure", "unlabelled"),
        help="training, lerobot: which episodes to take (default: success)",
    )
    parser.add_argument(
        "--practice", action="store_true", help="training, lerobot: take practice as well"
    )
    parser.add_argument("--stride", type=float, default=1.6, help="training: s between windows")
    parser.add_argument(
        "--preset", default="tiny", help="training: of the model, its window and frame times"
    )
    parser.add_argument(
        "--action",
        choices=("command", "leader", "joints"),
        default="command",
        help="lerobot: the set-point the arm was sent, the leader's pose (arms on one bus), or the "
        "pose measured a frame later",
    )
    parser.add_argument(
        "--mark-far",
        action="store_true",
        help="lerobot: depth beyond 4095 mm becomes invalid instead of being refused",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")


def run(args: argparse.Namespace) -> int:
    to = {"training": _to_training, "lerobot": _to_lerobot, "bag": _to_bags}
    return to[args.to](args)


def _to_training(args: argparse.Namespace) -> int:
    from mvista_recorder.many import episodes_of
    from mvista_recorder.training_shards import TrainingJob, chosen_episodes, convert_to_training
    from mvista_world.config import preset

    folders = chosen_episodes(episodes_of(args.folder), args.labels, args.practice)
    job = TrainingJob(folders, args.out, args.stride, preset(args.preset).episode)
    kept, _ = _told(convert_to_training(job, args.workers), len(folders), args.out, "windows")
    return 0 if kept else 2


def _to_lerobot(args: argparse.Namespace) -> int:
    from mvista_recorder.lerobot_export import LeRobotJob, convert_to_lerobot
    from mvista_recorder.lerobot_frames import FrameRules, frame_rate_hz
    from mvista_recorder.many import episodes_of
    from mvista_recorder.training_shards import chosen_episodes

    folders = chosen_episodes(episodes_of(args.folder), args.labels, args.practice)
    rules = FrameRules(frame_rate_hz(folders), args.action)
    job = LeRobotJob(folders, args.out, rules, args.mark_far)
    _, refused = _told(convert_to_lerobot(job, args.workers), len(folders), args.out, "frames")
    return 2 if refused else 0


def _told(reports: Iterable[Converted], count: int, out: Path, what: str) -> tuple[int, int]:
    """A line an episode, and one of all: how much was kept, and how many episodes gave nothing."""
    kept = dropped = refused = 0
    for done, report in enumerate(reports, start=1):
        kept, dropped = kept + report.kept, dropped + report.dropped
        refused += not report.kept
        file = sys.stdout if report.kept else sys.stderr
        print(f"{done}/{count} {report.episode}: {report.words}", file=file, flush=True)
    print(f"{out}: {kept} {what}, {dropped} left out, of {count} episodes")
    return kept, refused


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
