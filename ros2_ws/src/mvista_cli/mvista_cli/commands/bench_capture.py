"""`mvista bench capture`: cameras across processes; counted by stamp, timed, and what it costs.

`--what readers`: what a camera costs by who reads it, phase by phase of one run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_eval.capture import BACKENDS, DDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cameras", type=int, default=4, help="camera processes (1 to 16)")
    parser.add_argument("--size", default="1280x720", help="width x height of colour and depth")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument(
        "--dds", choices=DDS, default=DDS[0],
        help="config/dds/fastdds.xml, or what the middleware does by itself",
    )  # fmt: skip
    parser.add_argument(
        "--backend", choices=BACKENDS, default=BACKENDS[0],
        help="synthetic: traffic only; emulated: with the emulated SDK, pairing and registration",
    )  # fmt: skip
    parser.add_argument(
        "--what", choices=("traffic", "readers"), default="traffic",
        help="images across processes; or what an emulated camera costs by who reads it",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    from mvista_eval.capture.bench import CaptureRequest, measure
    from mvista_eval.capture.readers import measure_readers
    from mvista_eval.figures import finish

    if args.what == "readers":
        found = measure_readers(args.cameras, args.size, args.fps, args.seconds)
        return finish(found, args.json)
    asked = CaptureRequest(args.cameras, args.size, args.fps, args.seconds, args.dds, args.backend)
    return finish(measure(asked), args.json)
