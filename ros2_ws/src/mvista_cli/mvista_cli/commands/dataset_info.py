"""`mvista dataset info`: what a data set holds and how it looks, or what episodes hold."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        help="holds manifest.json and shard-*.npz; or an episode, or a folder of episodes",
    )
    parser.add_argument("--json", type=Path, help="write the same here")
    parser.add_argument("--sheet", type=Path, help="write a picture (.png) of the first episodes")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.dataset import describe
    from mvista_eval.dataset_cameras import write_sheet
    from mvista_eval.figures import write_json
    from mvista_recorder.described import describe_episodes
    from mvista_recorder.many import episodes_of, holds_episodes

    if holds_episodes(args.folder):
        text, document = describe_episodes(episodes_of(args.folder))
    else:
        text, document = describe(args.folder)
    sys.stdout.write(text + "\n")
    write_json(args.json, document)
    if args.sheet is not None:
        write_sheet(args.folder, args.sheet)
    return 0
