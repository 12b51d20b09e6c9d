"""`mvista dataset convert`: episodes as what others read. It goes on where it was interrupted.

training: shards and a manifest for `mvista train`, windows of the model's length.
lerobot: a LeRobot v3.0 data set, depth exact to the millimetre, capture times beside its own.
bag: bags of registered, uncompressed depth, which RViz and Foxglove show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_bringup import paths


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
        "--preset",
        default=paths.DEFAULT_CHECKPOINT,
        help="training: of the model, its window and frame times",
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
    from mvista_cli import conversions

    return conversions.TO[args.to](args)
