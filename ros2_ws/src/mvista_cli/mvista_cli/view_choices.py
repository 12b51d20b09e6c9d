"""What several commands offer about views: where from, how imagined, of how many rollouts."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvista_core.records import AS_NEEDED, MOST_ROLLOUTS, ImagineOptions
from mvista_core.rig import load_rig
from mvista_world.choices import MethodChoices
from mvista_world.config_limits import ACTION_HEADS, VIEW_MODES


def add_options(parser: argparse.ArgumentParser) -> None:
    """Arguments that `options_of` reads."""
    parser.add_argument(
        "--cameras", type=Path, help="a rig file: its cameras are imagined too, none need be there"
    )
    parser.add_argument(
        "--allow-out-of-range",
        action="store_true",
        help="also from where the weights were not trained, which is refused otherwise",
    )
    add_mode(parser)
    add_best_of(parser)


def add_mode(parser: argparse.ArgumentParser) -> None:
    """`--mode`."""
    parser.add_argument(
        "--mode",
        type=int,
        choices=VIEW_MODES,
        help="1: all views in one run; 2: some first, then the others with those frozen "
        "(default: the checkpoint's)",
    )


def add_best_of(parser: argparse.ArgumentParser) -> None:
    """`--best-of`."""
    parser.add_argument(
        "--best-of",
        type=int,
        default=AS_NEEDED,
        metavar="N",
        help=f"of so many rollouts, by seed, take the likeliest (1 to {MOST_ROLLOUTS}; default: "
        "one, and up to three more while none is sure of the goal)",
    )


def add_literal(parser: argparse.ArgumentParser) -> None:
    """`--literal`."""
    parser.add_argument(
        "--literal",
        action="store_true",
        help="Eq. 11 as the paper writes it: the request's own words, no weight of motion, all "
        "noise levels",
    )


def add_action_head(parser: argparse.ArgumentParser) -> None:
    """`--action-head`."""
    parser.add_argument(
        "--action-head",
        choices=ACTION_HEADS,
        help="who reads a future: the motion reader, where the checkpoint has one, or the "
        "generator's own head (default: the checkpoint's)",
    )


def add_drawn(parser: argparse.ArgumentParser) -> None:
    """`--drawn`."""
    parser.add_argument(
        "--drawn",
        choices=("in-range", "held-out"),
        help="each scene's cameras are of a rig drawn by its seed: as training draws them, or only "
        "where it never does",
    )


def options_of(args: argparse.Namespace) -> ImagineOptions:
    """Of parsed arguments.

    Raises:
        RigError: the file of `--cameras`. ConfigError: too many rollouts.
    """
    cameras = () if args.cameras is None else load_rig(args.cameras).cameras
    return ImagineOptions(cameras, args.allow_out_of_range, args.mode, args.best_of)


def drawn_of(args: argparse.Namespace) -> str:
    """`--drawn` as evaluations name it; "" for the shipped rig."""
    return (args.drawn or "").replace("-", " ")


def method_of(args: argparse.Namespace) -> MethodChoices:
    """`--mode`, `--literal` and `--action-head`."""
    return MethodChoices(args.mode, args.literal, args.action_head)
