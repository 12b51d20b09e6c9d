"""What `mvista dataset convert` does: a function for each kind, which returns the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mvista_recorder.bag_export import convert_to_bag
from mvista_recorder.lerobot_frames import FrameRules, frame_rate_hz
from mvista_recorder.many import Converted, episodes_of, in_parallel
from mvista_recorder.training_shards import TrainingJob, chosen_episodes, convert_to_training
from mvista_world.presets import preset


def _to_training(args: argparse.Namespace) -> int:
    folders = chosen_episodes(episodes_of(args.folder), args.labels, args.practice)
    job = TrainingJob(folders, args.out, args.stride, preset(args.preset).episode)
    kept, _ = _told(convert_to_training(job, args.workers), len(folders), args.out, "windows")
    return 0 if kept else 2


def _to_lerobot(args: argparse.Namespace) -> int:
    # Its libraries are needed for nothing else.
    from mvista_recorder.lerobot_export import LeRobotJob, convert_to_lerobot

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
    jobs = [(folder, args.out) for folder in episodes_of(args.folder)]
    failed = 0
    for done, (_, (good, line)) in enumerate(
        in_parallel(convert_to_bag, jobs, args.workers), start=1
    ):
        print(f"{done}/{len(jobs)} {line}", file=sys.stdout if good else sys.stderr)
        failed += not good
    return 2 if failed else 0


TO: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "training": _to_training,
    "lerobot": _to_lerobot,
    "bag": _to_bags,
}
