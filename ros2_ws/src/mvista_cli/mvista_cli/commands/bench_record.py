"""`mvista bench record`: the recorder under four cameras and two arms, beside `.pkl` dumping.

`--kills N`: recorder, a camera and teleoperation are killed N times each while they record;
`--clocks`: camera against joints where clocks, rates and delays are wrong, held against the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=300.0, help="of recording")
    parser.add_argument("--previews", action="store_true", help="the cameras' previews are read")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--kills", type=int, default=0, metavar="N", help="kill each N times instead")
    way.add_argument("--clocks", action="store_true", help="wrong clocks instead")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.figures import finish

    if args.kills:
        from mvista_eval.record.kills import measure_kills

        return finish(measure_kills(args.kills, args.seed), args.json)
    if args.clocks:
        from mvista_eval.record.clocks import measure_clocks

        return finish(measure_clocks(args.seconds), args.json)
    from mvista_eval.record.load import measure

    return finish(measure(args.seconds, args.previews), args.json)
