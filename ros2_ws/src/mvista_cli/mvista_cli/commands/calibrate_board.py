"""`mvista calibrate board`: a sheet to print."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--squares", default="7x5", help="columns x rows; the default fits A4")
    parser.add_argument("--square-mm", type=float, default=30.0)
    parser.add_argument("--marker-mm", type=float, default=22.0)
    parser.add_argument("--dictionary", default="DICT_5X5_250")
    parser.add_argument("--out", type=Path, default=Path("board.pdf"))


def run(args: argparse.Namespace) -> int:
    from mvista_calibration.board.pattern import board_pdf
    from mvista_calibration.records import Board
    from mvista_core.errors import ConfigError

    try:
        columns, rows = (int(word) for word in args.squares.lower().split("x"))
    except ValueError:
        raise ConfigError(f"--squares {args.squares}: give columns x rows, such as 14x9") from None
    board = Board(columns, rows, args.square_mm / 1e3, args.marker_mm / 1e3, args.dictionary)
    path = board_pdf(board, args.out)
    sys.stdout.write(f"{path}: print at 100 %, then measure the bar and note it in session.yaml\n")
    return 0
