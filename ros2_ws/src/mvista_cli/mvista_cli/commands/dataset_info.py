"""`mvista dataset info`: what a data set holds, or what episodes do."""

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


def run(args: argparse.Namespace) -> int:
    from mvista_eval.dataset import describe
    from mvista_eval.figures import write_json
    from mvista_recorder.described import describe_episodes
    from mvista_recorder.many import episodes_of, holds_episodes

    if holds_episodes(args.folder):
        text, document = describe_episodes(episodes_of(args.folder))
    else:
        text, document = describe(args.folder)
    sys.stdout.write(text + "\n")
    write_json(args.json, document)
    return 0
