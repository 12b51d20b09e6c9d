"""`mvista record "open the drawer"`: demonstrations, one after the other, from this terminal.

Letters: s start, y success, n failure, d discard, r redo, p practice, q quit; without a recording y
and n label the newest episode. The services `recorder/start`, `end` and `label` do the same. When
the terminal goes the recording goes on, until a service or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instruction", help='what is demonstrated, e.g. "open the drawer"')
    parser.add_argument(
        "--out", type=Path, help="folder for the episodes (default: build/episodes)"
    )
    parser.add_argument("--rig", default="sim_cell", help="a file of config/rigs, without .yaml")
    parser.add_argument("--arm-file", default="piper", help="a file of config/arms, without .yaml")
    parser.add_argument("--arms", nargs="+", default=["piper"], help="namespaces of the arms")
    parser.add_argument("--cameras", nargs="+", default=[""], help="default: all of the rig")
    parser.add_argument("--camera-rate", type=float, default=15.0, help="Hz that must come")
    parser.add_argument("--joint-rate", type=float, default=200.0, help="Hz that must come")
    parser.add_argument("--least-free", type=float, default=2.0, help="GiB left to others")
    parser.add_argument("--namespace", default="", help="of the graph")
    parser.add_argument("--domain", type=int, help="its ROS domain (default: $ROS_DOMAIN_ID)")


def run(args: argparse.Namespace) -> int:
    from mvista_bringup import paths
    from mvista_cli.operator.recording import RecordRequest, record

    asked = RecordRequest(
        args.instruction,
        args.out or paths.output_dir("episodes"),
        paths.config_file("rigs", f"{args.rig}.yaml"),
        paths.config_file("arms", f"{args.arm_file}.yaml"),
        tuple(args.arms),
        tuple(args.cameras),
        args.camera_rate,
        args.joint_rate,
        args.least_free,
        args.namespace,
        args.domain,
    )
    return record(asked)
