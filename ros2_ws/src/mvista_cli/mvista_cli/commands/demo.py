"""`mvista demo`: imagine, infer and execute one task on the simulated cell, over real ROS 2.

Leaves `report.html` and `.json`; exit code 0 when it ran to the end, whatever came of the task.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from mvista_bringup.paths import DEFAULT_CHECKPOINT, output_dir
from mvista_cli import view_choices

EXIT_REFUSED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        default="touch_cube",
        help="touch_cube, open_drawer, put_orange, or an instruction (default: %(default)s)",
    )
    parser.add_argument(
        "--instruction", default="", help='words other than the task\'s own: "touch the blue cube"'
    )
    parser.add_argument("--seed", type=int, default=0, help="of the scene and of the imagination")
    folder = "a folder of models/checkpoints"
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, help=folder)
    parser.add_argument(
        "--arm",
        choices=("simulated", "emulated"),
        default="simulated",
        help="the simulator's own, or one behind the Piper driver and an emulated CAN bus",
    )
    view_choices.add_best_of(parser)
    parser.add_argument("--out", type=Path, help="where the report goes (default: build/demo)")
    parser.add_argument("--json", type=Path, help="a second place for report.json")


def run(args: argparse.Namespace) -> int:
    from mvista_cli.demo.scene import assignment_of

    assignment = assignment_of(args.task, args.instruction)
    # Below this line so that a refused instruction does not wait for them.
    from mvista_cli.demo.record import OK
    from mvista_cli.demo.report import verdict, write_report
    from mvista_cli.demo.run import DemoRun
    from mvista_cli.operator.progress import StageProgress
    from mvista_core.timing import SystemClock

    clock = SystemClock()
    out = args.out or output_dir("demo")
    show = StageProgress(sys.stdout, clock)
    print(f'"{assignment.instruction}" on scene {assignment.task} {args.seed}', flush=True)
    asked = (assignment, args.seed, args.checkpoint, args.arm)
    record = DemoRun(*asked, out, clock, show, args.best_of).carry_out()
    show.update("report")
    page = write_report(record, out)
    show.done()
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(out / "report.json", args.json)
    print(f"report: {page}")
    if record.outcome != OK:
        print(f"mvista: {record.outcome}: {record.message}", file=sys.stderr)
        return EXIT_REFUSED
    print(verdict(record))
    return 0
