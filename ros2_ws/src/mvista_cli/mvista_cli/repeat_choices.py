"""What every command offers that measures by repetition: by whom, and whether all anew."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mvista_eval.trials import Repeating


def add(parser: argparse.ArgumentParser, workers: int = 1) -> None:
    """Arguments that `how_of` reads."""
    parser.add_argument(
        "--workers", type=int, default=workers, help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--ray",
        default="",
        metavar="ADDRESS",
        help="they are of this Ray cluster's machines: auto, HOST:PORT, ray://HOST:10001, or local",
    )
    parser.add_argument("--fresh", action="store_true", help="forget trials already done")


def how_of(args: argparse.Namespace) -> Repeating:
    """Who carries the trials out."""
    from mvista_eval.trials import Repeating

    return Repeating(args.workers, args.fresh, args.ray)
