"""What `mvista calibrate board|solve|verify` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

METHODS = ("ours", "one_pose", "one_pose_icp", "bundle", "bundle_icp")
"""As `mvista_calibration.pipeline` has them, which takes seconds to import."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    board = verbs.add_parser("board", help="a ChArUco board as a PDF to print at true size")
    board.add_argument("--squares", default="7x5", help="columns x rows; the default fits A4")
    board.add_argument("--square-mm", type=float, default=30.0)
    board.add_argument("--marker-mm", type=float, default=22.0)
    board.add_argument("--dictionary", default="DICT_5X5_250")
    board.add_argument("--out", type=Path, default=Path("board.pdf"))
    solve = verbs.add_parser("solve", help="a recorded session -> rig file, or the reason why not")
    solve.add_argument("session", type=Path, help="folder with session.yaml")
    solve.add_argument(
        "--rig", default="", help="name: config/rigs/<name>.yaml is written if it passes"
    )
    solve.add_argument("--method", choices=METHODS, default="ours")
    solve.add_argument(
        "--keep-lenses", action="store_true", help="as the factory says, not estimated with poses"
    )
    solve.add_argument("--base-frame", default="piper_base")
    solve.add_argument("--width", type=int, help="of the stream the rig file is for (depth's)")
    solve.add_argument("--out", type=Path, help="folder for report and files (SESSION/result)")
    solve.add_argument(
        "--truth", type=Path, help="truth.yaml of a simulated session: say the error"
    )
    verify = verbs.add_parser("verify", help="does a rig file still hold, by a new session")
    verify.add_argument("session", type=Path)
    verify.add_argument("--rig", type=Path, required=True, help="rig file")
    verify.add_argument("--json", type=Path)
