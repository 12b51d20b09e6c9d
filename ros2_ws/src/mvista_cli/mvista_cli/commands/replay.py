"""`mvista replay EPISODE`: an episode again, on its topics; or its motion, on an arm.

With `--on-arm NAMESPACE` nothing is published: the motion of the episode's arm is one
`follow_joint_trajectory` goal of that arm's executor, which checks it whole, approaches its first
pose slowly, and refuses it where the arm is too far away. Ctrl-C cancels it: the arm stops smoothly
and holds. Exit code 0 when it was carried out, 2 when it was refused or failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("episode", type=Path, help="the folder of an episode")
    parser.add_argument("--speed", type=float, default=1.0, help="1 is as recorded")
    parser.add_argument("--loop", action="store_true", help="again and again (topics only)")
    parser.add_argument("--on-arm", default="", metavar="ARM", help="namespace of an arm to move")
    parser.add_argument("--arm", default="", help="of the episode; default: its only one")
    parser.add_argument("--namespace", default="", help="of the graph")
    parser.add_argument("--domain", type=int, help="its ROS domain (default: $ROS_DOMAIN_ID)")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.operator.replaying import ReplayRequest, play, replay_on_arm

    asked = ReplayRequest(
        args.episode, args.speed, args.loop, args.arm, args.on_arm, args.namespace, args.domain
    )
    sys.stdout.write(f"{replay_on_arm(asked) if args.on_arm else play(asked)}\n")
    return 0
